"""Which path means what. Names are compared with the specification's grammar before anything else sees them.

===========================================  ==========================
path                                         methods
===========================================  ==========================
/v2/                                         GET HEAD
/v2/<name>/blobs/uploads/                    POST
/v2/<name>/blobs/uploads/<id>                GET HEAD PATCH PUT DELETE
/v2/<name>/blobs/<digest>                    GET HEAD DELETE
/v2/<name>/manifests/<tag or digest>         GET HEAD PUT DELETE
/v2/<name>/tags/list                         GET HEAD
/v2/<name>/referrers/<digest>                GET HEAD
/v2/_catalog                                 GET HEAD
/token                                       GET HEAD POST
===========================================  ==========================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from ociworks.errors import SpecError, quote
from ociworks.spec import Digest
from ociworks.testing._registry.refused import Refused

__all__ = ["Route", "checked_name", "digest_in_url", "digest_pushed", "is_digest", "is_tag", "route_of"]

_READ: Final = ("GET", "HEAD")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_MAX_NAME: Final = 255


class Route(NamedTuple):
    """A kind of path and the methods that it knows."""

    kind: str
    pattern: re.Pattern[str]
    methods: tuple[str, ...]


_ROUTES: Final = (
    Route("api", re.compile(r"/v2/?"), _READ),
    Route("token", re.compile(r"/token"), (*_READ, "POST")),
    Route("catalog", re.compile(r"/v2/_catalog"), _READ),
    Route("uploads", re.compile(r"/v2/(?P<name>.+)/blobs/uploads/?"), ("POST",)),
    Route(
        "upload",
        re.compile(r"/v2/(?P<name>.+)/blobs/uploads/(?P<target>[^/]+)"),
        (*_READ, "PATCH", "PUT", "DELETE"),
    ),
    Route("blob", re.compile(r"/v2/(?P<name>.+)/blobs/(?P<target>[^/]+)"), (*_READ, "DELETE")),
    Route("manifest", re.compile(r"/v2/(?P<name>.+)/manifests/(?P<target>[^/]+)"), (*_READ, "PUT", "DELETE")),
    Route("tags", re.compile(r"/v2/(?P<name>.+)/tags/list"), _READ),
    Route("referrers", re.compile(r"/v2/(?P<name>.+)/referrers/(?P<target>[^/]+)"), _READ),
)


def route_of(path: str) -> tuple[Route, Mapping[str, str]]:
    """The route of a path and its parts, of which the name may still be anything; refuses unknown ones with 404."""
    for route in _ROUTES:
        if match := route.pattern.fullmatch(path):
            return route, match.groupdict()
    raise Refused("UNSUPPORTED", "no such endpoint", status=404)


def checked_name(name: str) -> str:
    """The name of a repository; refused unless it follows the grammar."""
    if len(name) > _MAX_NAME or _NAME.fullmatch(name) is None:
        raise Refused("NAME_INVALID", f"not the name of a repository: {quote(name, 64)}")
    return name


def is_tag(text: str) -> bool:
    """Whether this is a tag."""
    return _TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Whether this can only be meant as a digest."""
    return ":" in text


def digest_in_url(text: str) -> Digest:
    """The digest of something to be read or deleted; what is none cannot be there: 404."""
    try:
        return Digest.parse(text)
    except SpecError as error:
        raise Refused("DIGEST_INVALID", str(error), status=404) from None


def digest_pushed(text: str) -> Digest:
    """The digest of something to be stored: it must be of an algorithm that can be verified."""
    try:
        digest = Digest.parse(text)
    except SpecError as error:
        raise Refused("DIGEST_INVALID", str(error)) from None
    if not digest.supported:
        raise Refused(
            "DIGEST_INVALID", f"digests of the algorithm {quote(digest.algorithm)} are not verified here"
        )
    return digest
