"""Lists in pages (distribution-spec, Listing Tags, Listing Referrers): one after the other, within bounds.

A registry decides where the next page is, so it must stay on the registry and in the repository, no page is asked for
twice, and their number is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attrs import field, frozen

from ociworks.errors import LimitExceeded, RegistryProtocolError, SpecError
from ociworks.image.remote import _endpoints
from ociworks.image.remote._locations import next_page
from ociworks.image.remote._messages import Request, read_capped
from ociworks.spec import parse
from ociworks.spec.distribution import TagList

if TYPE_CHECKING:
    from ociworks.image.origin import Url
    from ociworks.image.remote._session import Repository, Session
    from ociworks.image.remote.limits import Limits

__all__ = ["Page", "list_tags", "pages"]


@frozen
class Page:
    """One page as it came."""

    raw: bytes = field(repr=False)
    content_type: str | None


def pages(
    session: Session, repository: Repository, limits: Limits, first: Url, accept: str, what: str
) -> Iterator[Page]:
    """The pages of the list at ``first``, each read as a whole when it is asked for.

    Raises :class:`~ociworks.errors.RegistryError` and :class:`~ociworks.errors.LimitExceeded`.
    """
    url: Url | None = first
    seen: set[Url] = set()
    while url is not None:
        if url in seen:
            raise RegistryProtocolError(f"{what}: the next page was there before", url=url.redacted)
        if len(seen) >= limits.max_pages:
            raise LimitExceeded(what, "max_pages", limits.max_pages)
        seen.add(url)
        request = Request(method="GET", url=url, headers=(("Accept", accept),))
        response = session.send(request, repository, {200}, what)
        try:
            following = next_page(url, response, repository)
            content_type = response.headers.one("content-type")
            raw = read_capped(response, "max_document", limits.max_document)
        finally:
            response.close()
        yield Page(raw, content_type)
        url = following


def list_tags(
    session: Session, repository: Repository, limits: Limits, page_size: int | None
) -> Iterator[str]:
    """The tags of a repository; each must follow the grammar, because it is shown and asked for."""
    first = _endpoints.tags(repository)
    if page_size is not None:
        first = first.with_query(f"n={page_size}")
    what = f"tags of {repository.registry}/{repository.name}"
    count = 0
    for page in pages(session, repository, limits, first, "application/json", what):
        for tag in _read_tags(page, what):
            if count == limits.max_items:
                raise LimitExceeded(what, "max_items", limits.max_items)
            count += 1
            yield _endpoints.checked_tag(repository, tag)


def _read_tags(page: Page, what: str) -> tuple[str, ...]:
    try:
        return parse(TagList, page.raw).tags
    except SpecError as error:
        raise RegistryProtocolError(f"{what}: {error}") from None
