"""The URLs of the API (distribution-spec, Endpoints), built only from checked parts."""

from __future__ import annotations

from ociworks.image.origin import Url
from ociworks.image.reference import Reference
from ociworks.image.remote._session import Repository
from ociworks.spec import Digest

__all__ = ["blob", "manifest", "uploads"]


def _url(repository: Repository, tail: str) -> Url:
    return Url(repository.origin, f"/v2/{repository.name}/{tail}")


def manifest(repository: Repository, target: Digest | str) -> Url:
    """A manifest, by digest or by a tag that follows the grammar."""
    if isinstance(target, str):
        Reference(registry="x.example", repository=repository.name, tag=target)
    return _url(repository, f"manifests/{target}")


def blob(repository: Repository, digest: Digest) -> Url:
    """A blob."""
    return _url(repository, f"blobs/{digest}")


def uploads(repository: Repository) -> Url:
    """Where uploads start."""
    return _url(repository, "blobs/uploads/")
