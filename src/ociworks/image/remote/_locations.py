"""URLs that a registry chooses: where an upload goes on, and where the next page is.

=============  =======================================================================================
upload         the registry's own origin, below its ``/v2/``; else only a ``host:port`` that the caller
               listed as trusted, which then gets the body but no credentials
next page      the registry's own origin, below ``/v2/<name>/`` of the repository that is listed
=============  =======================================================================================
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ociworks.errors import RegistryProtocolError, SpecError

if TYPE_CHECKING:
    from ociworks.image.origin import Url
    from ociworks.image.remote._messages import Response
    from ociworks.image.remote._policy import TargetPolicy
    from ociworks.image.remote._session import Repository

__all__ = ["next_page", "upload_location"]

_LINK = re.compile(r"[ \t]*<([^<>]*)>[ \t]*((?:;(?:[^,;\"]|\"[^\"]*\")*)*)(?:,|\Z)", re.ASCII)
_NEXT = re.compile(r";[ \t]*rel[ \t]*=[ \t]*(?:\"next\"|next)[ \t]*(?:;|\Z)", re.ASCII | re.IGNORECASE)


def upload_location(asked: Url, response: Response, repository: Repository, policy: TargetPolicy) -> Url:
    """The ``Location`` of an upload; raises :class:`~ociworks.errors.RegistryProtocolError`."""
    url = _join(asked, response.headers.one("location") or "", "upload, Location")
    if url.origin == repository.origin:
        allowed = url.path.startswith(f"{repository.root}/")
    else:
        policy.check(url, repository.origin, "upload, Location")
        allowed = (url.origin.host, url.origin.port) in policy.trusted
    if not allowed:
        raise RegistryProtocolError(
            f"upload: expected a Location below {repository.origin}{repository.root}/; if this one is meant, list "
            f"{url.origin.host}:{url.origin.port} as trusted",
            url=url.redacted,
        )
    return url


def next_page(asked: Url, response: Response, repository: Repository) -> Url | None:
    """What ``Link: <…>; rel="next"`` points to, None without; raises ``RegistryProtocolError``."""
    found = [target for header in response.headers.all("link") for target in _targets(header, asked)]
    if not found:
        return None
    if len(found) > 1:
        raise RegistryProtocolError(f"expected one next page, got {len(found)}", url=asked.redacted)
    url = _join(asked, found[0], "Link to the next page")
    if url.origin != repository.origin or not url.path.startswith(f"{repository.root}/{repository.name}/"):
        raise RegistryProtocolError(
            f"expected the next page below {repository.origin}{repository.root}/{repository.name}/",
            url=url.redacted,
        )
    return url


def _targets(header: str, asked: Url) -> list[str]:
    """The targets of a ``Link`` header whose relation is next (RFC 8288 section 3)."""
    found, position = [], 0
    while position < len(header):
        match = _LINK.match(header, position)
        if match is None:
            raise RegistryProtocolError('Link: expected <url>; rel="next"', url=asked.redacted)
        if _NEXT.search(match[2]):
            found.append(match[1])
        position = match.end()
    return found


def _join(asked: Url, location: str, what: str) -> Url:
    if not location:
        raise RegistryProtocolError(f"{what}: expected a URL, got none", url=asked.redacted)
    try:
        return asked.join(location)
    except SpecError as error:
        raise RegistryProtocolError(f"{what}: {error}", url=asked.redacted) from None
