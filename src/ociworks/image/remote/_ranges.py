"""Random access to a blob: single ranges, for readers that want an index and a few files of a large layer."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Final, final

from ociworks.errors import NotSupported, SizeMismatch
from ociworks.image.remote import _endpoints
from ociworks.image.remote._blobs import check_range
from ociworks.image.remote._messages import Request, read_capped

if TYPE_CHECKING:
    from typing import Self

    from _typeshed import WriteableBuffer

    from ociworks.image.remote._session import Repository, Session
    from ociworks.spec.image import Descriptor

__all__ = ["BlobReader"]

_STEP: Final = 1024 * 1024


@final
class BlobReader(io.RawIOBase):
    """A blob as a seekable binary file. Each read is one request.

    **Nothing proves the bytes**: a digest is over the whole. Use it for content with digests of its own.
    """

    def __init__(self, session: Session, repository: Repository, descriptor: Descriptor) -> None:
        super().__init__()
        self._session = session
        self._repository = repository
        self._descriptor = descriptor
        self._position = 0

    def __enter__(self) -> Self:
        return self

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move, without asking the registry; a place before the start raises ``ValueError``."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._descriptor.size}[whence]
        if base + offset < 0:
            raise ValueError(f"expected a place in the blob, got {base + offset}")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Where the next read starts, in bytes."""
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill ``buffer`` as far as the blob goes, but with 1 MiB at most."""
        with memoryview(buffer).cast("B") as view:
            count = min(len(view), _STEP, max(self._descriptor.size - self._position, 0))
            if count:
                view[:count] = self._fetch(self._position, count)
        self._position += count
        return count

    def readall(self) -> bytes:
        """All that is left, in pieces of 1 MiB."""
        return b"".join(iter(lambda: self.read(_STEP) or b"", b""))

    def _fetch(self, first: int, count: int) -> bytes:
        what = f"part of blob {self._descriptor.digest}"
        last = first + count - 1
        request = Request(
            method="GET",
            url=_endpoints.blob(self._repository, self._descriptor.digest),
            headers=(("Range", f"bytes={first}-{last}"),),
        )
        response = self._session.send(request, self._repository, {200, 206}, what)
        try:
            if response.status == 200:
                raise NotSupported(f"{self._repository.registry} sends blobs only as a whole")
            check_range(response, first, last, self._descriptor)
            data = read_capped(response, "the part asked for", count)
        finally:
            response.close()
        if len(data) != count:
            raise SizeMismatch(what, count, len(data))
        return data
