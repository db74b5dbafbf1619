"""ExecSync: a program to its end, with what it wrote, within bounds of size and time.

Of each stream 16 MiB are kept, and the rest is read and dropped, so that the program never stops for it. The call ends
with the program, also when another one still holds its pipes; with the deadline all that came of it is killed.
"""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable, Iterable
from typing import Final

from ociworks.cri._caller import caller_gone
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.streaming._family import kill_family
from ociworks.cri.streaming._outcome import exit_code
from ociworks.cri.streaming._pipes import Pipes
from ociworks.cri.streaming.remotecommand import Running
from ociworks.errors import ContainerError, DeadlinePassed

__all__ = ["run"]

KEPT: Final = 16 << 20
"""Bytes of each stream."""
_REST: Final = 1 << 20
"""Bytes that are read after the end of the program: another may hold its pipes and write for ever."""
_CHUNK: Final = 1 << 16


def run(
    begin: Callable[[Pipes], Running],
    everybody: Callable[[], Iterable[int]],
    timeout: float,
    drain: float,
    mark: int = 0,
) -> api.ExecSyncResponse:
    """Run what ``begin`` begins, for ``timeout`` seconds at most (0: for any time).

    After its end, output is waited for ``drain`` seconds while others hold the pipes. DeadlinePassed when it takes too
    long or the caller of the RPC has gone: what came of it, among ``everybody`` in the container, is killed by then;
    also daemons, when it was begun with a ``mark``.
    """
    deadline = time.monotonic() + timeout if timeout > 0 else None
    with Pipes(stdout=True, stderr=True) as pipes, caller_gone() as gone:
        running = begin(pipes)
        try:
            pipes.begun()
            output = _Output(pipes)
            if not output.until_ended(running.pidfd, gone, deadline):
                _kill(running, everybody, pipes, mark)
                raise DeadlinePassed(
                    f"command did not end within {timeout:g} seconds, or while anybody waited"
                )
            output.drain(drain)
            code = exit_code(running.wait())
        finally:
            running.end()
    return api.ExecSyncResponse(
        stdout=bytes(output.kept["stdout"]), stderr=bytes(output.kept["stderr"]), exit_code=code
    )


def _kill(running: Running, everybody: Callable[[], Iterable[int]], pipes: Pipes, mark: int) -> None:
    with contextlib.suppress(ContainerError):  # the container has ended, and everybody with it
        kill_family(running.pid, everybody, pipes.outputs, mark)


class _Output:
    """Reads both streams."""

    def __init__(self, pipes: Pipes) -> None:
        self._pipes = pipes
        self._poll = select.poll()
        self.kept = {"stdout": bytearray(), "stderr": bytearray()}
        for fd in pipes.outputs:
            self._poll.register(fd, select.POLLIN)

    def until_ended(self, pidfd: int, gone: int, deadline: float | None) -> bool:
        """Read until the program has ended; False when the deadline came first, or ``gone`` became readable."""
        self._poll.register(pidfd, select.POLLIN)
        self._poll.register(gone, select.POLLIN)
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = self._poll.poll(None if left is None else left * 1000)
            if not ready and left is not None and time.monotonic() >= (deadline or 0.0):
                return False
            if any(fd == pidfd for fd, _ in ready):
                self._poll.unregister(pidfd)
                self._poll.unregister(gone)
                return True
            if any(fd == gone for fd, _ in ready):
                return False
            for fd, _ in ready:
                self._read(fd)
            if left == 0.0:  # there is always something to read
                return False

    def drain(self, seconds: float) -> None:
        """Read what is there, and for so many seconds what comes."""
        deadline = time.monotonic() + seconds
        left = _REST
        while self._pipes.outputs and left > 0:
            ready = self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not ready and time.monotonic() >= deadline:
                return
            left -= sum(self._read(fd) for fd, _ in ready)

    def _read(self, fd: int) -> int:
        data = self._pipes.read(fd, _CHUNK)
        if data:
            kept = self.kept[self._pipes.outputs[fd]]
            kept += data[: KEPT - len(kept)]
        elif data is not None:
            self._poll.unregister(fd)
            self._pipes.end_output(fd)
        return len(data or b"")
