"""Reads the log files of a detached container, older ones first, and follows them through rotation."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Callable, Iterator
from typing import Final, Literal

from attrs import frozen

from ociworks.errors import ContainerError, quote
from ociworks.runtime import _facts

__all__ = ["LogRecord", "parse_record", "read_logs"]

_MAX_RECORD: Final = 1 << 20
_CRI: Final = re.compile(rb"([^ \n]{1,64}) (stdout|stderr) ([FP])(?::[^ \n]*)? (.*)", re.DOTALL)


@frozen(kw_only=True)
class LogRecord:
    """One record of a log: a line, or a part of a long one."""

    time: str
    """RFC 3339, UTC, nanoseconds."""
    stream: Literal["stdout", "stderr"]
    data: bytes
    """What the program wrote, with its line feed; without one the line goes on in the stream's next record."""


def parse_record(line: bytes, form: str) -> LogRecord:
    """One line of a log file of the format ``cri`` or ``json``. ContainerError when it is none."""
    try:
        return _parse_cri(line) if form == "cri" else _parse_json(line)
    except ValueError as error:
        raise ContainerError(f"damaged log record {quote(line[:100])}: {error}") from error


def _parse_cri(line: bytes) -> LogRecord:
    found = _CRI.fullmatch(line.removesuffix(b"\n"))
    if found is None:
        raise ValueError("expected a time, stdout or stderr, F or P, and the text")
    when, stream, tag, text = found.groups()
    return LogRecord(
        time=when.decode("ascii", "backslashreplace"),
        stream="stdout" if stream == b"stdout" else "stderr",
        data=text + (b"\n" if tag == b"F" else b""),
    )


def _parse_json(line: bytes) -> LogRecord:
    found = _facts.loads(line)
    if not isinstance(found, dict):
        raise ValueError("expected an object")
    log, stream, when = (found.get(name) for name in ("log", "stream", "time"))
    if not isinstance(log, str) or not isinstance(when, str) or stream not in ("stdout", "stderr"):
        raise ValueError("expected the members log, stream and time")
    return LogRecord(
        time=when,
        stream="stdout" if stream == "stdout" else "stderr",
        data=log.encode("utf-8", "surrogateescape"),
    )


def read_logs(
    path: str, form: str, files: int, more: Callable[[], bool] | None = None
) -> Iterator[LogRecord]:
    """The records of ``path.N`` … ``path.1`` and ``path``.

    ``more`` makes it follow: at the end of what is there it is called, waits a moment, and says whether records may
    still come. Raises ContainerError for a file that is no log, OSError for one that cannot be read.
    """
    reader = _Reader(path, files)
    try:
        going = True
        while going:
            going = more is not None and more()
            for line in reader.lines():
                yield parse_record(line, form)
    finally:
        reader.close()


class _Reader:
    """The files in their order; which one is read is known by its inode, whatever its name is meanwhile."""

    def __init__(self, path: str, files: int) -> None:
        self._names = [f"{path}.{number}" for number in range(files - 1, 0, -1)] + [path]
        self._stream: io.BufferedReader | None = None
        self._rest = b""

    def lines(self) -> Iterator[bytes]:
        """The complete lines that there are now and that were not read yet."""
        while True:
            yield from self._complete()
            if not self._advance():
                return

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def _complete(self) -> Iterator[bytes]:
        while self._stream is not None and (line := self._stream.readline(_MAX_RECORD)):
            self._rest += line
            if self._rest.endswith(b"\n"):
                line, self._rest = self._rest, b""
                yield line
            elif len(self._rest) >= _MAX_RECORD:
                raise ContainerError(f"{self._stream.name}: a log record of more than {_MAX_RECORD} bytes")

    def _advance(self) -> bool:
        """Go on with the next newer file, if there is one; the one that is left is read to its end once more."""
        found = list(self._open_all())
        try:
            current = None if self._stream is None else os.fstat(self._stream.fileno()).st_ino
            inodes = [os.fstat(stream.fileno()).st_ino for stream in found]
            start = inodes.index(current) + 1 if current in inodes else 0
            if start >= len(found):
                return False
            chosen = found.pop(start)
        finally:
            for stream in found:
                stream.close()
        if self._stream is not None and self._stream.peek(1):
            chosen.close()
            return True
        self.close()
        self._stream, self._rest = chosen, b""
        return True

    def _open_all(self) -> Iterator[io.BufferedReader]:
        for name in self._names:
            try:
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            stream = os.fdopen(fd, "rb")
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                stream.close()
                raise ContainerError(f"{name}: expected a log file, found something else")
            yield stream
