"""The digest of an upload, made while it arrives, so that the end of a large one costs nothing more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ociworks.spec import Digest
from ociworks.spec.digest import ALGORITHMS, BytesLike, Hasher

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["RunningDigest"]


class RunningDigest:
    """Hashes with sha256 unless told otherwise before the first byte; any other digest is made from the start."""

    def __init__(self, *, complete: bool = True) -> None:
        """``complete``: no byte was missed. An upload found again after a restart has nothing to go on from."""
        self._hasher: Hasher | None = Hasher() if complete else None

    @property
    def size(self) -> int:
        """Bytes hashed; -1 when there is nothing to go on from."""
        return -1 if self._hasher is None else self._hasher.size

    def expect(self, algorithm: str) -> None:
        """Use this algorithm, if nothing was hashed yet and it is known."""
        if self.size == 0 and algorithm in ALGORITHMS:
            self._hasher = Hasher(algorithm)

    def update(self, data: BytesLike) -> None:
        """Add bytes."""
        if self._hasher is not None:
            self._hasher.update(data)

    def agrees(self, digest: Digest, size: int, again: Callable[[], Iterable[BytesLike]]) -> bool:
        """Whether the ``size`` bytes have this digest; ``again`` gives all of them for another algorithm."""
        if self._hasher is not None and self._hasher.algorithm == digest.algorithm and self.size == size:
            return self._hasher.digest() == digest
        hasher = Hasher(digest.algorithm)
        for piece in again():
            hasher.update(piece)
        return hasher.digest() == digest
