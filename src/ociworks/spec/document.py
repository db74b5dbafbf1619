"""`Document`: a value together with the exact bytes that it was read from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import frozen

from ociworks.spec import _json
from ociworks.spec._io import parse, to_json
from ociworks.spec._model import Model

if TYPE_CHECKING:
    from ociworks.spec.digest import Digest

__all__ = ["Document"]

M = TypeVar("M", bound=Model)


@frozen
class Document(Generic[M]):
    """Bytes and what they say. The digest is that of the bytes, never of a re-serialised guess.

    Make one with `load` (from bytes) or `of` (from a value); change one with `replace`.
    """

    raw: bytes
    value: M

    @classmethod
    def load(cls, kind: type[M], raw: bytes, *, max_size: int = _json.MAX_SIZE) -> Document[M]:
        """Read ``raw`` as a ``kind``; raises `InvalidJSON` and `InvalidSpec`, as `parse` does."""
        raw = bytes(raw)
        return cls(raw, parse(kind, raw, max_size=max_size))

    @classmethod
    def of(cls, value: M) -> Document[M]:
        """Write ``value``; raises `SpecError` when JSON cannot say it."""
        return cls(to_json(value), value)

    @property
    def digest(self) -> Digest:
        """The sha256 digest of the bytes."""
        from ociworks.spec.digest import Digest

        return Digest.of(self.raw)

    @property
    def size(self) -> int:
        """The number of bytes."""
        return len(self.raw)

    def replace(self, value: M) -> Document[M]:
        """The document with another value: itself, byte for byte, when ``value`` is equal to its own."""
        return self if value == self.value else self.of(value)
