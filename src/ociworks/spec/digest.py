"""Digests: the identity of content (image-spec descriptor.md, Digests).

- :class:`Digest` is an ``algorithm:encoded`` that passed the grammar. Only a ``Digest`` may become part of a path
  or URL: neither half can hold a slash, a dot-dot, a percent sign or anything that is not plain ASCII.
- :class:`Hasher` computes one, piece by piece.
- :class:`VerifyingReader` hands on the bytes of a reader and proves that they were the promised ones.

A digest of an algorithm that is not in the table below may be read, compared and written, so that documents
survive; every verification with it fails with :class:`~ociworks.errors.UnsupportedDigest`.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeAlias, final

from ociworks.errors import DigestMismatch, InvalidDigest, SizeMismatch, SpecError, UnsupportedDigest, quote

if TYPE_CHECKING:
    import hashlib
    import os
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

__all__ = ["ALGORITHMS", "CHUNK", "BytesLike", "Digest", "Hasher", "Hashing", "Readable", "VerifyingReader"]

BytesLike: TypeAlias = bytes | bytearray | memoryview
"""What can be hashed."""

ALGORITHMS: Final[Mapping[str, int]] = MappingProxyType({"sha256": 64, "sha384": 96, "sha512": 128})
"""The algorithms that ociworks verifies, and the length of their encoded part in lower-case hex digits."""

CHUNK: Final = 256 * 1024
"""Bytes asked of a reader at a time."""

# Longer ones would not fit into a file name (NAME_MAX is 255); registered algorithms need at most 135.
_MAX_TEXT: Final = 255
_GRAMMAR = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+", re.ASCII)
_SUPPORTED = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}|sha384:[0-9a-f]{96}", re.ASCII)
_is_supported, _new, _put = _SUPPORTED.fullmatch, object.__new__, object.__setattr__


@final
class Digest:
    """A digest that follows the grammar: immutable, hashable, ordered by its text.

    Build one with :meth:`parse`, :meth:`of` or :meth:`of_file`. Two digests are equal when their texts are.
    """

    __slots__ = ("_text",)

    _text: str

    def __new__(cls, text: str) -> Self:
        """The same as :meth:`parse`."""
        return cls.parse(text)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``algorithm:encoded``; raises :class:`~ociworks.errors.InvalidDigest`.

        The encoded part of a supported algorithm must have its exact length in lower-case hex.
        """
        if _is_supported(text) is None:
            _check_unsupported(text)
        self = _new(cls)
        _put(self, "_text", text)
        return self

    @classmethod
    def of(cls, data: BytesLike, algorithm: str = "sha256") -> Self:
        """The digest of ``data``; raises :class:`~ociworks.errors.UnsupportedDigest` for an unknown algorithm."""
        return cls(f"{algorithm}:{_constructor(algorithm)(data).hexdigest()}")

    @classmethod
    def of_file(cls, path: str | os.PathLike[str], algorithm: str = "sha256") -> Self:
        """The digest of a file's bytes, read in pieces; raises ``OSError`` and ``UnsupportedDigest``."""
        import hashlib

        constructor = _constructor(algorithm)
        with open(path, "rb", buffering=0) as file:
            return cls(f"{algorithm}:{hashlib.file_digest(file, lambda: constructor(b'')).hexdigest()}")

    @property
    def algorithm(self) -> str:
        """The part before the colon, such as ``sha256``."""
        return self._text.partition(":")[0]

    @property
    def encoded(self) -> str:
        """The part after the colon: lower-case hex for every supported algorithm."""
        return self._text.partition(":")[2]

    @property
    def supported(self) -> bool:
        """Whether content can be verified against this digest."""
        return self.algorithm in ALGORITHMS

    def verify(self, data: bytes, what: str = "content") -> None:
        """Raise :class:`~ociworks.errors.DigestMismatch` (or ``UnsupportedDigest``) unless ``data`` has this digest."""
        found = Digest.of(data, self.algorithm)
        if found != self:
            raise DigestMismatch(what, str(self), str(found), len(data))

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Digest({self._text!r})"

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Digest) else NotImplemented

    def __lt__(self, other: Digest) -> bool:
        return self._text < other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Digest cannot change: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Digest cannot change: {name}")

    def __reduce__(self) -> tuple[type[Digest], tuple[str]]:
        return (Digest, (self._text,))


def _check_unsupported(text: str) -> None:
    """Let a grammatical digest of an algorithm outside the table pass; explain what is wrong with any other."""
    if len(text) > _MAX_TEXT or _GRAMMAR.fullmatch(text) is None:
        raise InvalidDigest(f"expected a digest like sha256:<64 lower-case hex digits>, got {quote(text)}")
    algorithm = text.partition(":")[0]
    if algorithm in ALGORITHMS:
        wanted = f"{ALGORITHMS[algorithm]} lower-case hex digits after {algorithm}:"
        raise InvalidDigest(f"expected {wanted}, got {quote(text)}")


def _constructor(algorithm: str) -> Callable[[BytesLike], hashlib._Hash]:
    """The hash of a supported algorithm. Names from outside never reach ``hashlib.new``."""
    if algorithm not in ALGORITHMS:
        known = ", ".join(ALGORITHMS)
        raise UnsupportedDigest(f"unsupported digest algorithm {quote(algorithm)}: ociworks verifies {known}")
    import hashlib

    table: dict[str, Callable[[BytesLike], hashlib._Hash]] = {
        "sha256": hashlib.sha256,
        "sha384": hashlib.sha384,
        "sha512": hashlib.sha512,
    }
    return table[algorithm]


@final
class Hasher:
    """Computes a digest of bytes that come in pieces.

    Raises :class:`~ociworks.errors.UnsupportedDigest` when made for an algorithm that is not in :data:`ALGORITHMS`.
    """

    __slots__ = ("_hash", "algorithm", "size")

    def __init__(self, algorithm: str = "sha256") -> None:
        self._hash = _constructor(algorithm)(b"")
        self.algorithm = algorithm
        self.size = 0
        """Bytes hashed so far."""

    def update(self, data: BytesLike) -> None:
        """Add bytes. The interpreter lock is released for pieces of 2 KiB and more."""
        self._hash.update(data)
        self.size += memoryview(data).nbytes

    def digest(self) -> Digest:
        """The digest of everything so far; more may be added afterwards."""
        return Digest(f"{self.algorithm}:{self._hash.hexdigest()}")


class Hashing(Protocol):
    """What computes a digest for a :class:`VerifyingReader`: a :class:`Hasher`, or one that works elsewhere."""

    @property
    def size(self) -> int:
        """Bytes taken so far."""

    def update(self, data: bytes, /) -> None:
        """Take a piece."""

    def digest(self) -> Digest:
        """The digest of all pieces."""


class Readable(Protocol):
    """What a :class:`VerifyingReader` reads from: any binary file, response body or decompressor."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; empty only at the end."""


@final
class VerifyingReader:
    """Hands on the bytes of ``source`` and proves that they are ``size`` bytes with this digest.

    Bytes are handed out before they are proved, so what is made of them may be published only after
    :meth:`verify` or a ``with`` block returned without an error::

        with VerifyingReader(body, digest=layer.digest, size=layer.size, what="layer 3") as reader:
            unpack_into_staging(reader)
        publish(staging)                    # reached only if all bytes came and were right

    The block's end drains what the consumer left, one byte beyond ``size`` at most. When the block raises, nothing
    is drained and :attr:`verified` stays false. The source is not closed. A byte beyond ``size`` is never handed out.

    Raises :class:`~ociworks.errors.SizeMismatch` and :class:`~ociworks.errors.DigestMismatch`, from a read that
    meets the end too, and :class:`~ociworks.errors.UnsupportedDigest` at once, before anything is read.
    """

    __slots__ = ("_digest", "_hasher", "_size", "_source", "_verified", "_what")

    def __init__(
        self,
        source: Readable,
        *,
        digest: Digest,
        size: int,
        what: str = "content",
        hasher: Hashing | None = None,
    ) -> None:
        """``hasher`` computes the digest, by the digest's algorithm; by default here, while reading."""
        if size < 0:
            raise SpecError(f"{what}: expected a size of 0 or more, got {size}")
        self._source = source
        self._digest = digest
        self._size = size
        self._what = what
        self._hasher: Hashing = hasher or Hasher(digest.algorithm)
        self._verified = False

    @property
    def verified(self) -> bool:
        """Whether the end was reached and size and digest were right."""
        return self._verified

    @property
    def consumed(self) -> int:
        """Bytes read so far, for progress."""
        return self._hasher.size

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes, or everything left; empty only at the end, which is then verified."""
        if size < 0:
            return b"".join(self)
        if size == 0 or self._verified:
            return b""
        left = self._size - self._hasher.size
        data = self._source.read(min(size, left) if left else 1)
        self._take(data, left)
        return data

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Fill ``buffer`` with at most its length of bytes; 0 only at the end, which is then verified."""
        view = memoryview(buffer).cast("B")
        data = self.read(view.nbytes)
        view[: len(data)] = data
        return len(data)

    def readable(self) -> bool:
        """True: for consumers that ask."""
        return True

    def verify(self) -> None:
        """Drain the source, one byte beyond the size at most, and compare."""
        while not self._verified:
            self.read(CHUNK)

    def __iter__(self) -> Iterator[bytes]:
        """The pieces in which the content comes, :data:`CHUNK` bytes at most."""
        while data := self.read(CHUNK):
            yield data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        if kind is None:
            self.verify()

    def _take(self, data: bytes, left: int) -> None:
        """Account for ``data``; an empty one is the end of the source."""
        if len(data) > left:
            raise SizeMismatch(self._what, self._size, self._hasher.size + len(data))
        if data:
            self._hasher.update(data)
        elif left:
            raise SizeMismatch(self._what, self._size, self._hasher.size)
        else:
            self._finish()

    def _finish(self) -> None:
        found = self._hasher.digest()
        if found != self._digest:
            raise DigestMismatch(self._what, str(self._digest), str(found), self._hasher.size)
        self._verified = True
