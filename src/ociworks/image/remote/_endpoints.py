"""The URLs of the API (distribution-spec, Endpoints), built only from checked parts."""

from __future__ import annotations

from urllib.parse import quote

from ociworks.errors import InvalidReference, RegistryProtocolError
from ociworks.image.origin import Url
from ociworks.image.reference import Reference
from ociworks.image.remote._session import Repository
from ociworks.spec import Digest

__all__ = ["base", "blob", "checked_tag", "manifest", "referrers", "tags", "uploads"]


def _url(repository: Repository, tail: str) -> Url:
    query = None if repository.namespace is None else f"ns={quote(repository.namespace, safe='')}"
    return Url(repository.origin, f"{repository.root}/{repository.name}/{tail}", query)


def manifest(repository: Repository, target: Digest | str) -> Url:
    """A manifest, by digest or by a tag that follows the grammar."""
    if isinstance(target, str):
        Reference(registry="x.example", repository=repository.name, tag=target)
    return _url(repository, f"manifests/{target}")


def checked_tag(repository: Repository, text: str) -> str:
    """A tag that a registry lists; :class:`~ociworks.errors.RegistryProtocolError` when it breaks the grammar."""
    try:
        Reference(registry="x.example", repository=repository.name, tag=text)
    except InvalidReference as error:
        raise RegistryProtocolError(f"list of tags: {error}") from None
    return text


def blob(repository: Repository, digest: Digest) -> Url:
    """A blob."""
    return _url(repository, f"blobs/{digest}")


def base(repository: Repository) -> Url:
    """The API itself: who may ask for this may log in."""
    return Url(repository.origin, f"{repository.root}/")


def uploads(repository: Repository) -> Url:
    """Where uploads start."""
    return _url(repository, "blobs/uploads/")


def tags(repository: Repository) -> Url:
    """The list of tags."""
    return _url(repository, "tags/list")


def referrers(repository: Repository, subject: Digest) -> Url:
    """The list of manifests that name ``subject``."""
    return _url(repository, f"referrers/{subject}")
