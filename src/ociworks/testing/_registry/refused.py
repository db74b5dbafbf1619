"""Refusals: an error code of the specification and the status that goes with it (distribution-spec, Error Codes)."""

from __future__ import annotations

from typing import Final

from ociworks.errors import OciworksError
from ociworks.spec.distribution import ERROR_CODES

__all__ = ["Refused"]

_STATUS: Final = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 400,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 404,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 404,
    "NAME_UNKNOWN": 404,
    "SIZE_INVALID": 400,
    "UNAUTHORIZED": 401,
    "DENIED": 403,
    "UNSUPPORTED": 405,
    "TOOMANYREQUESTS": 429,
}


class Refused(OciworksError):
    """An answer with one of the specification's error codes; ``detail`` is for people."""

    def __init__(
        self, code: str, detail: str = "", *, status: int | None = None, headers: dict[str, str] | None = None
    ) -> None:
        self.code = code
        self.detail = detail or ERROR_CODES[code]
        self.status = status or _STATUS[code]
        self.headers = headers or {}
        super().__init__(f"{code}: {self.detail}")
