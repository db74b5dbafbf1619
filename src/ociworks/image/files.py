"""The files of an image without unpacking it: one read-only tree of all layers, whiteouts honoured.

::

    from ociworks.image import files

    tree = files.files(img)                  # or img.files()
    tree.read_text("/etc/os-release")
    [path for path, entry in tree.walk("/usr/bin") if entry.mode & 0o4000]

Names are those that a process in the image would use: links are followed inside the image, ``..`` ends at its root.
Names that are not UTF-8 have surrogates, as everywhere in Python (``os.fsdecode``).

The first question reads all layers once, verified, and keeps their entries. The first time that content of a layer is
asked for, the layer is read again, and the contents that are still visible stay in a temporary file without a name: so
keep the object as long as there are questions. It may be used from several threads.
"""

from __future__ import annotations

import fnmatch
import io
import os
import threading
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from ociworks.errors import ImageFileError, ImageFileNotFound, LimitExceeded, quote
from ociworks.image._archives import open_archive
from ociworks.image._merged import MergedTree, merge, names_of
from ociworks.image._pack.spool import Spool
from ociworks.image.tar.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ociworks.image._merged import Node
    from ociworks.image.tar.entry import TarEntry
    from ociworks.image.tar.limits import Limits
    from ociworks.image.types import Image, Layer

__all__ = ["MAX_READ", "ImageFiles", "files"]

MAX_READ: Final = 64 << 20
"""Bytes that :meth:`ImageFiles.read_bytes` reads at most unless told otherwise; open files have no bound."""

Parts = tuple[bytes, ...]


def files(img: Image, limits: Limits = DEFAULT_LIMITS) -> ImageFiles:
    """The files of ``img``; nothing is read yet."""
    return ImageFiles(img.layers, limits)


class ImageFiles:
    """A read-only file system of layers, base first.

    Every method raises :class:`ociworks.errors.ImageFileNotFound`, :class:`ociworks.errors.ImageFileError` when the
    file is of another kind than the question is for, and what reading the layers raises:
    :class:`ociworks.errors.LayerError`, :class:`ociworks.errors.ContentError`,
    :class:`ociworks.errors.LimitExceeded`.
    """

    def __init__(self, layers: Sequence[Layer], limits: Limits = DEFAULT_LIMITS) -> None:
        self._layers = tuple(layers)
        self._limits = limits
        self._lock = threading.RLock()
        self._merged: MergedTree | None = None
        self._contents: dict[int, _Contents] = {}

    def exists(self, path: str | bytes) -> bool:
        """Whether there is anything at ``path``; a link that leads nowhere is nothing."""
        return self._tree.find(_parts(path)) is not None

    def entry(self, path: str | bytes, *, follow: bool = True) -> TarEntry:
        """What is at ``path``: kind, mode, owner, size, time. Its ``parts`` are the canonical name.

        Without ``follow`` a link at the end is described itself.
        """
        parts, node = self._find(path, follow=follow)
        return node.entry._replace(parts=parts)

    def read_bytes(self, path: str | bytes, *, limit: int = MAX_READ) -> bytes:
        """The content of a file of ``limit`` bytes at most, else LimitExceeded."""
        node = self._file(path)
        if node.entry.size > limit:
            raise LimitExceeded(f"bytes of {_shown(path)}", "limit", limit)
        with _Content(self._content_of(node), node) as content:
            return content.readall()

    def read_text(
        self, path: str | bytes, encoding: str = "utf-8", errors: str = "strict", *, limit: int = MAX_READ
    ) -> str:
        """The content of a file as text; raises ``UnicodeDecodeError`` too."""
        return self.read_bytes(path, limit=limit).decode(encoding, errors)

    def open(self, path: str | bytes) -> BinaryIO:
        """A file to read and seek in."""
        node = self._file(path)
        return cast("BinaryIO", io.BufferedReader(_Content(self._content_of(node), node)))

    def listdir(self, path: str | bytes = "/") -> list[str]:
        """The names in a directory, sorted as bytes."""
        _, node = self._find(path)
        if not node.is_directory:
            raise ImageFileError(f"{_shown(path)} is a {node.entry.type}, not a directory")
        return [os.fsdecode(name) for name in sorted(node.children)]

    def walk(self, top: str | bytes = "/") -> Iterator[tuple[str, TarEntry]]:
        """Everything below ``top``, sorted, each directory before what is in it; links are not followed.

        Paths are absolute. A file with several names comes once for each.
        """
        above, start = self._find(top)
        for parts, node in names_of(start):
            full = (*above, *parts)
            yield "/" + os.fsdecode(b"/".join(full)), node.entry._replace(parts=full)

    def glob(self, pattern: str) -> list[str]:
        """The absolute paths that match, sorted: ``*``, ``?`` and ``[…]`` within a component, ``**`` for any number.

        Links are matched by their names, and not followed.
        """
        wanted = tuple(part for part in pattern.split("/") if part)
        return [path for path, _ in self.walk() if _matches(tuple(path.split("/")[1:]), wanted)]

    @property
    def _tree(self) -> MergedTree:
        with self._lock:
            if self._merged is None:
                self._merged = merge(self._layers, self._limits)
            return self._merged

    def _find(self, path: str | bytes, *, follow: bool = True) -> tuple[Parts, Node]:
        found = self._tree.find(_parts(path), follow=follow)
        if found is None:
            raise ImageFileNotFound(f"no {_shown(path)} in the image")
        return found

    def _file(self, path: str | bytes) -> Node:
        _, node = self._find(path)
        if node.entry.type != "file":
            raise ImageFileError(f"{_shown(path)} is a {node.entry.type}, not a file")
        return node

    def _content_of(self, node: Node) -> _Contents:
        with self._lock:
            found = self._contents.get(node.layer)
            if found is None:
                wanted = _positions(self._tree, node.layer)
                found = self._contents[node.layer] = _Contents(self._layers[node.layer], wanted, self._limits)
            return found


class _Contents:
    """The contents of a layer's files that are visible in the image, verified, one behind the other."""

    def __init__(self, layer: Layer, wanted: frozenset[int], limits: Limits) -> None:
        self.spool = Spool()
        self.starts: dict[int, int] = {}
        with open_archive(layer, limits) as archive:
            for position, entry in enumerate(archive):
                if position in wanted and entry.type == "file":
                    self.starts[position] = self.spool.size
                    for piece in archive.content():
                        self.spool.write(piece)


def _positions(tree: MergedTree, layer: int) -> frozenset[int]:
    return frozenset(node.position for _, node in names_of(tree.root) if node.layer == layer)


class _Content(io.RawIOBase):
    """One file's part of the contents."""

    def __init__(self, contents: _Contents, node: Node) -> None:
        super().__init__()
        self._spool = contents.spool
        self._start = contents.starts[node.position]
        self._size = node.entry.size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")
        left = max(0, self._size - self._position)
        data = self._spool.read_at(self._start + self._position, min(len(view), left))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


def _parts(path: str | bytes) -> Parts:
    """Components as a process would walk them; ``..`` stays, because a link may be in front of it."""
    return tuple(part for part in os.fsencode(path).split(b"/") if part not in (b"", b"."))


def _shown(path: str | bytes) -> str:
    return quote(path)


def _matches(path: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Whether the components match, in time linear in both: a set of places in the pattern moves along the path."""
    states = _skip({0}, pattern)
    for part in path:
        following = {state for state in states if state < len(pattern) and pattern[state] == "**"}
        following |= {
            state + 1
            for state in states
            if state < len(pattern) and pattern[state] != "**" and fnmatch.fnmatchcase(part, pattern[state])
        }
        states = _skip(following, pattern)
        if not states:
            return False
    return len(pattern) in states


def _skip(states: set[int], pattern: tuple[str, ...]) -> set[int]:
    """``**`` may stand for nothing."""
    found = set(states)
    for state in sorted(states):
        current = state
        while current < len(pattern) and pattern[current] == "**":
            current += 1
            found.add(current)
    return found
