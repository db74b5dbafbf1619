"""A further process of a container that was started and is not waited for yet."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from typing import Self

import attrs

from ociworks.errors import ContainerTimeout, NotSupported, quote
from ociworks.runtime._points import Points
from ociworks.runtime._progress import Follower
from ociworks.runtime.completed import CompletedContainer
from ociworks.runtime.console import Console
from ociworks.runtime.launcher import Spawned
from ociworks.runtime.stdio import Streams, communicate
from ociworks.spec.runtime import Process
from ociworks.spec.signals import signal_number

__all__ = ["ContainerProcess", "check_terminal", "finish"]


class ContainerProcess:
    """Made by :meth:`Container.spawn`. As a context manager it is killed, if it still runs, at the end of the block."""

    def __init__(
        self,
        spawned: Spawned,
        streams: Streams,
        args: Sequence[str] = (),
        container_id: str = "",
        ended: Callable[[int, int], None] | None = None,
    ) -> None:
        self.args = tuple(args)
        self.container_id = container_id
        self.console: Console | None = None
        """Its terminal, when it was given one; ``console.resize`` tells it of a new size."""
        self._spawned = spawned
        self._streams = streams
        self._ended = ended

    def begin(self, points: Points) -> None:
        """Follow it to its program. Raises CreateFailed and CommandNotFound; it is gone then."""
        follower = Follower(self._spawned, points)
        try:
            follower.until_waiting()
        finally:
            self.console = follower.console

    @property
    def pid(self) -> int:
        """Its pid on the host."""
        return self._spawned.pid

    @property
    def pidfd(self) -> int:
        """A pidfd, to wait for its end with poll; -1 when closed."""
        return self._spawned.pidfd

    @property
    def stdin(self) -> int | None:
        """Our end of its standard input, when that was given as PIPE; a descriptor."""
        return self._streams.stdin

    @property
    def stdout(self) -> int | None:
        """Our end of its standard output, when that was given as PIPE; a descriptor."""
        return self._streams.stdout

    @property
    def stderr(self) -> int | None:
        """Our end of its standard error, when that was given as PIPE; a descriptor."""
        return self._streams.stderr

    def poll(self) -> int | None:
        """The exit status, or the negative number of the signal; None while it runs."""
        return self._tell(self._spawned.wait(0))

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; the exit status, or the negative number of the signal.

        Raises ContainerTimeout after ``timeout`` seconds; the process goes on. ExitStatusUnknown for a detached one
        that somebody else adopted.
        """
        status = self._tell(self._spawned.wait(timeout))
        if status is None:
            raise ContainerTimeout(f"process {self.pid} is still running", timeout=timeout or 0.0)
        return status

    def communicate(self, input: bytes | None = None, timeout: float | None = None) -> CompletedContainer:
        """Write ``input``, read what the pipes (or the terminal) give, and wait for the end.

        Raises ContainerTimeout, with the output so far, after ``timeout`` seconds; the program is killed then.
        """
        if self.console is not None:
            self._streams.become_terminal(self.console.fileno(), typing=input is not None)
            self.console.close()
        done = finish(self._spawned, self._streams, self.args, input, timeout)
        self._tell(done.returncode)
        return attrs.evolve(done, container_id=self.container_id)

    def _tell(self, status: int | None) -> int | None:
        if status is not None and self._ended is not None:
            ended, self._ended = self._ended, None
            ended(self.pid, status)
        return status

    def kill(self, signum: int | str = "TERM") -> None:
        """Send a signal (number, ``TERM`` or ``SIGTERM``); nothing when it has ended."""
        number = signal_number(str(signum))
        if self._spawned.alive():
            try:
                signal.pidfd_send_signal(self._spawned.pidfd, number)
            except ProcessLookupError:
                return

    def let_go(self) -> None:
        """Give it, which was begun to outlive us, to whoever adopts it; :meth:`wait` knows its status if that is we."""
        self._spawned.let_go()

    def close(self) -> None:
        """Close everything of ours; the process goes on, and its terminal, if it had one, hangs up."""
        self._streams.close()
        self._spawned.close()
        if self.console is not None:
            self.console.close()

    def __enter__(self) -> Self:
        return self

    def end(self) -> None:
        """Kill it if it still runs, wait for its end, close everything of ours; again is harmless."""
        try:
            self._spawned.end()
        finally:
            self.close()

    def __exit__(self, *_: object) -> None:
        self.end()

    def __repr__(self) -> str:
        return f"<ContainerProcess {self.pid} in {self.container_id}: {' '.join(map(quote, self.args))}>"


def finish(
    spawned: Spawned, streams: Streams, args: Sequence[str], data: bytes | None, timeout: float | None
) -> CompletedContainer:
    """Feed and drain a started program to its end; ContainerTimeout, with the output so far, when it takes too long."""
    deadline = None if timeout is None else time.monotonic() + timeout
    stdout, stderr, late = communicate(streams, data, deadline, spawned.monitor.fileno(), spawned.kill)
    status = spawned.wait()
    if late:
        raise ContainerTimeout(
            f"{args!r} did not end within {timeout} seconds and was killed",
            timeout=timeout or 0.0,
            stdout=stdout,
            stderr=stderr,
        )
    return CompletedContainer(args=tuple(args), returncode=status or 0, stdout=stdout, stderr=stderr)


def check_terminal(process: Process, *, captured: bool) -> None:
    """Raise NotSupported for a terminal that nobody would read: its program would stop when it is full."""
    if process.terminal and not captured:
        raise NotSupported(
            "$.process.terminal: use capture_output=True, or Runtime.create and Container.console to talk to it"
        )
