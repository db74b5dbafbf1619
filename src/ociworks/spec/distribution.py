"""What registries answer (distribution-spec, Error Codes, Listing Tags, Listing Referrers).

A referrers list is an `ociworks.spec.image.Index`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ociworks._values import frozen
from ociworks.spec._model import JSONValue, Model

__all__ = ["ERROR_CODES", "ErrorBody", "ErrorInfo", "TagList"]

ERROR_CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "BLOB_UNKNOWN": "the registry does not have this blob",
        "BLOB_UPLOAD_INVALID": "the upload of this blob cannot go on",
        "BLOB_UPLOAD_UNKNOWN": "the registry does not know this upload",
        "DIGEST_INVALID": "the content has another digest",
        "MANIFEST_BLOB_UNKNOWN": "the manifest names something that the registry does not have",
        "MANIFEST_INVALID": "the registry refuses this manifest",
        "MANIFEST_UNKNOWN": "the registry does not have this manifest",
        "NAME_INVALID": "this is not the name of a repository",
        "NAME_UNKNOWN": "the registry does not have this repository",
        "SIZE_INVALID": "the content has another size",
        "UNAUTHORIZED": "credentials are needed",
        "DENIED": "these credentials do not allow this",
        "UNSUPPORTED": "the registry cannot do this",
        "TOOMANYREQUESTS": "too many requests; try again later",
    }
)
"""The codes of the specification (distribution-spec, Error Codes) and what they mean. Registries send others too."""


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class ErrorInfo(Model, nulls=True):
    """One error of an error body. ``code`` is for programs; ``message`` and ``detail`` are untrusted text."""

    code: str
    message: str | None = None
    detail: JSONValue = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class ErrorBody(Model):
    """The body of an error response in JSON."""

    errors: tuple[ErrorInfo, ...]

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes, in order."""
        return tuple(error.code for error in self.errors)


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class TagList(Model, nulls=True):
    """The tags of a repository, or a page of them. Registries answer null for no tags."""

    name: str
    tags: tuple[str, ...] = ()
