"""A further process of a container that was started and is not waited for yet."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Self

from attrs import field, frozen

from ociworks.errors import ContainerTimeout, InvalidSpec, Problem, quote
from ociworks.runtime.console import Console
from ociworks.runtime.launcher import Spawned
from ociworks.runtime.stdio import Streams
from ociworks.spec.signals import signal_number

__all__ = ["ContainerProcess", "SpawnOptions"]


@frozen(kw_only=True)
class SpawnOptions:
    """How a further process of a container is started."""

    detach: bool = False
    """It outlives this Runtime and its process; whoever adopts it learns its status."""
    ignore_paused: bool = False
    """Start it in a paused container too; it runs when that is resumed."""
    groups: Mapping[str, str] = field(factory=dict)
    """Control groups below the container's, which exist: controller → relative path; ``""`` is for all the others."""

    def __attrs_post_init__(self) -> None:
        for path in self.groups.values():
            parts = path.strip("/").split("/")
            if not set(parts).isdisjoint(("", ".", "..")):
                raise InvalidSpec(
                    [Problem("cgroup", f"expected a path below the container's, got {quote(path)}")]
                )


class ContainerProcess:
    """Made by :meth:`Container.spawn`. As a context manager it is killed, if it still runs, at the end of the block."""

    def __init__(self, spawned: Spawned, streams: Streams, console: Console | None) -> None:
        self._spawned = spawned
        self._streams = streams
        self.console = console
        """Its terminal, when it was given one."""

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

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; the exit status, or the negative number of the signal.

        Raises ContainerTimeout after ``timeout`` seconds; the process goes on.
        """
        status = self._spawned.wait(timeout)
        if status is None:
            raise ContainerTimeout(f"process {self.pid} is still running", timeout=timeout or 0.0)
        return status

    def kill(self, signum: int | str = "TERM") -> None:
        """Send a signal (number, ``TERM`` or ``SIGTERM``); nothing when it has ended."""
        number = signal_number(str(signum))
        if self._spawned.alive():
            try:
                signal.pidfd_send_signal(self._spawned.pidfd, number)
            except ProcessLookupError:
                return

    def close(self) -> None:
        """Close everything of ours; the process goes on, and its terminal, if it had one, hangs up."""
        self._streams.close()
        self._spawned.close()
        if self.console is not None:
            self.console.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._spawned.alive():
            self._spawned.kill()
        self.close()
