"""Standard streams, as :mod:`subprocess` has them, and the loop that feeds and drains a running program."""

from __future__ import annotations

import errno
import os
import selectors
import subprocess
import time
from collections.abc import Callable
from typing import IO, Final, TypeAlias

from ociworks.runtime._standard import fill_standard

__all__ = ["DEVNULL", "PIPE", "STDOUT", "Stream", "Streams", "communicate"]

PIPE: Final = subprocess.PIPE
DEVNULL: Final = subprocess.DEVNULL
STDOUT: Final = subprocess.STDOUT

Stream: TypeAlias = "int | IO[bytes] | None"
"""None: the caller's own; PIPE; DEVNULL; STDOUT (for standard error); a descriptor; or an open file."""

_CHUNK: Final = 1 << 16


class Streams:
    """The three streams of one process: the child's ends, and ours where they are pipes.

    Make it, give ``child`` to the launcher, then call :meth:`started`; :meth:`close` at any time.
    """

    def __init__(self, stdin: Stream, stdout: Stream, stderr: Stream) -> None:
        fill_standard()
        self._mine: list[int] = []
        self.stdin: int | None = None
        self.stdout: int | None = None
        self.stderr: int | None = None
        try:
            child_in = self._input(stdin)
            child_out, self.stdout = self._output(stdout, 1)
            if stderr == STDOUT:
                child_err = child_out
            else:
                child_err, self.stderr = self._output(stderr, 2)
        except BaseException:
            self.close()
            raise
        self.child = (child_in, child_out, child_err)

    def _input(self, stream: Stream) -> int:
        if stream == PIPE:
            reader, self.stdin = os.pipe2(os.O_CLOEXEC)
            self._mine.append(reader)
            return reader
        return self._given(stream, 0)

    def _output(self, stream: Stream, default: int) -> tuple[int, int | None]:
        if stream == PIPE:
            reader, writer = os.pipe2(os.O_CLOEXEC)
            self._mine.append(writer)
            return writer, reader
        return self._given(stream, default), None

    def _given(self, stream: Stream, default: int) -> int:
        if stream == DEVNULL:
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            self._mine.append(null)
            return null
        if stream is None:
            return default
        return stream if isinstance(stream, int) else stream.fileno()

    def use_terminal(self, master: int) -> None:
        """Read and write a terminal instead of the pipes; ``master`` stays the caller's to close."""
        for name in ("stdin", "stdout", "stderr"):
            fd = getattr(self, name)
            if fd is not None:
                os.close(fd)
                setattr(self, name, os.dup(master) if name != "stderr" else None)

    def become_terminal(self, master: int, *, typing: bool) -> None:
        """Read a terminal, and with ``typing`` write to it; ``master`` stays the caller's to close."""
        self.close()
        self.stdout = os.dup(master)
        self.stdin = os.dup(master) if typing else None

    def started(self) -> None:
        """Close the child's ends on our side."""
        for fd in self._mine:
            os.close(fd)
        self._mine.clear()

    def close(self) -> None:
        """Close everything that is ours; again is harmless."""
        self.started()
        for name in ("stdin", "stdout", "stderr"):
            fd = getattr(self, name)
            if fd is not None:
                os.close(fd)
                setattr(self, name, None)


def communicate(  # noqa: C901 - one loop over three streams and an end
    streams: Streams, data: bytes | None, deadline: float | None, ended: int, finish: Callable[[], None]
) -> tuple[bytes, bytes, bool]:
    """Feed ``data``, collect output until the process has ended and its output is drained.

    ``ended`` is a descriptor that becomes readable at the end of the process, ``deadline`` a time.monotonic(); when it
    passes, ``finish`` is called once (it kills) and the loop goes on to the end. Returns (stdout, stderr, timed out).
    """
    output: dict[int, bytearray] = {}
    pending = memoryview(data or b"")
    late = over = False
    with selectors.PollSelector() as selector:
        selector.register(ended, selectors.EVENT_READ)
        for fd in (streams.stdout, streams.stderr):
            if fd is not None:
                os.set_blocking(fd, False)
                output[fd] = bytearray()
                selector.register(fd, selectors.EVENT_READ)
        if streams.stdin is not None:
            os.set_blocking(streams.stdin, False)
            selector.register(streams.stdin, selectors.EVENT_WRITE)
        while selector.get_map():
            left = None if deadline is None or late else deadline - time.monotonic()
            if left is not None and left <= 0:
                late = True
                finish()
                continue
            events = selector.select(0 if over else left)
            if over and not events:
                break
            for key, _ in events:
                fd = key.fd
                if fd == ended:
                    over = True
                    selector.unregister(fd)
                elif fd == streams.stdin:
                    pending = _feed(streams, selector, pending)
                elif not _drain(fd, output[fd]):
                    selector.unregister(fd)
    stdout = bytes(output.get(streams.stdout, b"")) if streams.stdout is not None else b""
    stderr = bytes(output.get(streams.stderr, b"")) if streams.stderr is not None else b""
    return stdout, stderr, late


def _feed(streams: Streams, selector: selectors.BaseSelector, pending: memoryview) -> memoryview:
    """Write what the pipe takes; close our end when all is written or nobody reads."""
    fd = streams.stdin
    if fd is None:
        return pending
    try:
        pending = pending[os.write(fd, pending[:_CHUNK]) :] if pending else pending
    except BlockingIOError:
        return pending
    except BrokenPipeError:
        pending = pending[:0]
    if not pending:
        selector.unregister(fd)
        os.close(fd)
        streams.stdin = None
    return pending


def _drain(fd: int, into: bytearray) -> bool:
    """Read once; False at end of file."""
    try:
        data = os.read(fd, _CHUNK)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno != errno.EIO:  # a terminal that nobody has open any more
            raise
        return False
    into += data
    return bool(data)
