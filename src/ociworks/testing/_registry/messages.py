"""A request and its response as values; only the body of a request does I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from attrs import field, frozen

from ociworks.spec.digest import BytesLike
from ociworks.testing._registry.limits import PIECE
from ociworks.testing._registry.refused import Refused

__all__ = ["NOTHING", "Body", "Bytes", "Content", "Request", "Response", "read_all"]


class Body(Protocol):
    """The body of a request, read once."""

    @property
    def length(self) -> int | None:
        """What Content-Length says; None for a chunked body."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill some of ``buffer``; 0 only at the end. Raises what ends the connection."""


class Content(Protocol):
    """The body of a response: sent whole or in part, then closed."""

    @property
    def size(self) -> int:
        """Bytes."""

    def fileno(self) -> int | None:
        """A descriptor of the regular file that it is, None if it is none."""

    def pieces(self, start: int, length: int) -> Iterator[BytesLike]:
        """The bytes from ``start``; fewer than ``length`` end the connection."""

    def close(self) -> None:
        """Release it."""


class Bytes:
    """Content in memory."""

    def __init__(self, data: BytesLike) -> None:
        self._data = memoryview(data)

    @property
    def size(self) -> int:
        """Bytes."""
        return self._data.nbytes

    def fileno(self) -> None:
        """There is no file."""

    def pieces(self, start: int, length: int) -> Iterator[BytesLike]:
        """The bytes, without a copy."""
        for offset in range(start, start + length, PIECE):
            yield self._data[offset : min(offset + PIECE, start + length)]

    def close(self) -> None:
        """Nothing to release."""


NOTHING: Final = Bytes(b"")


@frozen(kw_only=True)
class Request:
    """A request whose head was read."""

    method: str
    target: str
    """As it was sent: untrusted text."""
    path: str
    """Decoded once."""
    query: Mapping[str, tuple[str, ...]]
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: Body = field(repr=False)
    client: str = ""
    """The peer's address."""
    parts: Mapping[str, str] = {}
    """What the route names: ``name`` and ``target``."""

    @property
    def name(self) -> str:
        """The repository, which passed the grammar."""
        return self.parts["name"]

    @property
    def reference(self) -> str:
        """The last part of the path: a tag, a digest, an upload; untrusted text."""
        return self.parts["target"]

    @property
    def changes(self) -> bool:
        """Whether it asks for a change."""
        return self.method not in {"GET", "HEAD"}

    def header(self, name: str) -> str | None:
        """The first value of a header; ``name`` in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    def asked(self, name: str) -> str | None:
        """The first value of a query parameter."""
        return next(iter(self.query.get(name, ())), None)


@frozen(kw_only=True)
class Response:
    """A status, headers without Content-Length, and content: all of it or, from ``start``, ``length`` bytes."""

    status: int
    headers: Mapping[str, str] = {}
    content: Content = NOTHING
    start: int = 0
    length: int | None = None

    @property
    def sent(self) -> int:
        """Bytes of the body."""
        return self.content.size - self.start if self.length is None else self.length


def read_all(body: Body, maximum: int, code: str) -> bytes:
    """A small body; more than ``maximum`` bytes are refused with 413 and ``code``."""
    too_much = Refused(code, f"expected at most {maximum} bytes", status=413)
    if body.length is not None and body.length > maximum:
        raise too_much
    data, buffer = bytearray(), memoryview(bytearray(64 * 1024))
    while count := body.readinto(buffer):
        data += buffer[:count]
        if len(data) > maximum:
            raise too_much
    return bytes(data)
