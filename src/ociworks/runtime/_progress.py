"""Follows an init over its sync channel until it waits, executes or fails; and turns failures into errors."""

from __future__ import annotations

import os

from ociworks.errors import CommandNotFound, CreateFailed, LauncherError
from ociworks.runtime._init import wire
from ociworks.runtime._points import Points
from ociworks.runtime.console import Console
from ociworks.runtime.launcher import Spawned
from ociworks.runtime.stdio import Streams

__all__ = ["Follower"]

_NOT_FOUND = (1, 2, 8, 13, 20)  # EPERM, ENOENT, ENOEXEC, EACCES, ENOTDIR


class Follower:
    """One init's progress. ``points`` are called when the init reaches them; the terminal is kept in ``console``."""

    def __init__(self, spawned: Spawned, points: Points | None = None) -> None:
        self._spawned = spawned
        self._points = points or {}
        self.console: Console | None = None

    def run_on(self, streams: Streams) -> None:
        """Follow a process that nobody starts; its terminal, if it has one, takes the place of the streams."""
        try:
            self.until_waiting()
            if self.console is not None:
                streams.use_terminal(self.console.fileno())
        finally:
            if self.console is not None:
                self.console.close()

    def go_on(self) -> None:
        """Let the init go on from where it waits."""
        try:
            wire.send(self._spawned.sync, wire.CONTINUE)
        except (BrokenPipeError, ConnectionResetError):
            return  # it is gone; what the next message or the exit status says matters

    def until_waiting(self) -> bool:
        """Follow until the init waits to be started (True) or executes its program or ends (False).

        Raises CreateFailed or CommandNotFound for a failed step.
        """
        while True:
            kind, body, fds = wire.receive(self._spawned.sync)
            if kind == wire.READY:
                return True
            if not kind:
                return False
            if kind == wire.CONSOLE and len(fds) == 1:
                self.console = Console(fds[0])
            elif kind == wire.POINT:
                self._reach(body, fds)
            elif kind == wire.FAILED:
                raise failure(body)
            else:
                for fd in fds:
                    os.close(fd)
                raise LauncherError(f"unexpected message {kind!r} from a container's init")

    def _reach(self, name: bytes, fds: list[int]) -> None:
        action = self._points.get(name.decode("ascii", "replace"))
        if action is None:
            raise LauncherError(f"a container's init reached an unknown point {name!r}")
        action(*fds)
        self.go_on()


def failure(body: bytes) -> CreateFailed:
    """The error for a step that failed in an init."""
    number, index, step, text, path = wire.unpack_failure(body)
    if step in ("execute", "find_program"):
        kind: type[CreateFailed] = CommandNotFound if number in _NOT_FOUND else CreateFailed
        return kind(f"exec: {path}: {text}" if path else f"exec: {text}", step=step, errno=number, path=path)
    where = f" ({path})" if path else ""
    return CreateFailed(f"step {index}, {step}: {text}{where}", step=step, errno=number, path=path)
