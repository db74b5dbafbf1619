"""A streaming writer of tar archives whose bytes depend on nothing but the entries and their content.

The same entries give the same archive on every machine and under every Python: no user names, no time of day, no
padding beyond the two zero blocks at the end, PAX records only where a value needs one, and these sorted. What the
writer accepts, :class:`~ociworks.image.tar.reader.TarReader` gives back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, Self

from ociworks.errors import TarError, quote
from ociworks.image.tar._blocks import BLOCK
from ociworks.image.tar._headers import check_entry, header_blocks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from ociworks.image.tar.entry import TarEntry
    from ociworks.spec.digest import BytesLike, Readable

__all__ = ["TarWriter", "Writable", "pieces_of"]

_END: Final = bytes(2 * BLOCK)
_PIECE: Final = 1 << 20


class Writable(Protocol):
    """Where an archive goes: any binary file, hasher or compressor. All of ``data`` must be taken."""

    def write(self, data: BytesLike, /) -> object:
        """Take ``data``, whole."""


class TarWriter:
    """Writes entries to ``sink``, in the order in which they are added; :meth:`close` writes the end marker.

    As a context manager it closes when the block ends without an exception. After an error the archive has no end
    and takes no more entries. The sink is not closed.
    """

    def __init__(self, sink: Writable) -> None:
        self._write = sink.write
        self._open = True
        self.entries = 0
        """Entries written so far."""

    def add(self, entry: TarEntry, content: Iterable[BytesLike] = ()) -> None:
        """Write an entry and its content, which must come to ``entry.size`` bytes.

        ``content`` is in pieces, as :meth:`TarReader.content` yields them; ``(data,)`` for bytes, and
        :func:`pieces_of` for a file. Raises :class:`ociworks.errors.TarError` when the entry cannot be written
        faithfully or its content is longer or shorter than it says, and what ``content`` and the sink raise.
        """
        self._check_open()
        check_entry(entry)
        self._open = False
        self._write(header_blocks(entry))
        self._content(entry, content)
        self._open = True
        self.entries += 1

    def close(self) -> None:
        """Write the end marker; TarError when an entry failed or the archive has ended already."""
        self._check_open()
        self._open = False
        self._write(_END)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def _content(self, entry: TarEntry, content: Iterable[BytesLike]) -> None:
        left = entry.size
        for piece in content:
            left -= len(piece)
            if left < 0:
                raise TarError(f"more content than the {entry.size} bytes announced", quote(entry.path))
            self._write(piece)
        if left:
            raise TarError(f"{left} of {entry.size} bytes of content are missing", quote(entry.path))
        if padding := -entry.size % BLOCK:
            self._write(bytes(padding))

    def _check_open(self) -> None:
        if not self._open:
            raise TarError("the archive has ended, or one of its entries could not be written")


def pieces_of(source: Readable) -> Iterator[bytes]:
    """What is left of a file or stream, in pieces of a mebibyte at most."""
    while piece := source.read(_PIECE):
        yield piece
