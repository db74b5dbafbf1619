"""The standard streams of a program that somebody else starts: its ends to give away, ours without blocking."""

from __future__ import annotations

import errno
import os
from typing import Final, Literal, Self

from ociworks.runtime.stdio import DEVNULL

__all__ = ["OutputName", "Pipes"]

OutputName = Literal["stdout", "stderr"]
CHUNK: Final = 1 << 15


class Pipes:
    """Pipes for the streams that are wanted, ``/dev/null`` for the others; for one thread.

    Give ``child`` away, then call :meth:`begun`, and with a terminal :meth:`use_terminal`.
    """

    def __init__(self, *, stdin: bool = False, stdout: bool = False, stderr: bool = False) -> None:
        self._given: list[int] = []
        self.stdin = -1
        """What the program reads; -1 when it is closed."""
        self.outputs: dict[int, OutputName] = {}
        """What it writes, as long as somebody could write."""
        try:
            self.child = (
                self._input() if stdin else DEVNULL,
                self._output("stdout") if stdout else DEVNULL,
                self._output("stderr") if stderr else DEVNULL,
            )
        except BaseException:
            self.close()
            raise

    def begun(self) -> None:
        """The program has its ends: close ours of them."""
        for fd in self._given:
            os.close(fd)
        self._given.clear()

    def use_terminal(self, master: int, *, stdin: bool) -> None:
        """Instead of pipes; ``master`` stays its owner's. It is made not to block."""
        os.set_blocking(master, False)
        self.outputs[os.dup(master)] = "stdout"
        if stdin:
            self.stdin = os.dup(master)

    def read(self, fd: int, size: int = CHUNK) -> bytes | None:
        """Output that is there; None when there is none now, nothing at its end: then :meth:`end_output`."""
        try:
            return os.read(fd, size)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != errno.EIO:  # a terminal that nobody has open any more
                raise
            return b""

    def end_output(self, fd: int) -> None:
        """Close one of the outputs."""
        del self.outputs[fd]
        os.close(fd)

    def write(self, data: bytes | bytearray) -> int:
        """Give the program input, as much as it takes; BrokenPipeError when it never will."""
        try:
            return os.write(self.stdin, memoryview(data)[:CHUNK])
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise BrokenPipeError from error

    def end_input(self) -> None:
        """Close standard input; again is harmless."""
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1

    def close(self) -> None:
        """Close everything; again is harmless."""
        self.begun()
        self.end_input()
        while self.outputs:
            os.close(self.outputs.popitem()[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _input(self) -> int:
        reader, self.stdin = os.pipe2(os.O_CLOEXEC)
        self._given.append(reader)
        os.set_blocking(self.stdin, False)
        return reader

    def _output(self, name: OutputName) -> int:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        self._given.append(writer)
        self.outputs[reader] = name
        os.set_blocking(reader, False)
        return writer
