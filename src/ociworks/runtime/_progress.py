"""Follows an init over its sync channel until it waits, executes or fails; and turns failures into errors."""

from __future__ import annotations

import errno
import os

from ociworks.errors import CommandNotFound, CreateFailed, LauncherError
from ociworks.runtime._init import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.runtime._points import Points
    from ociworks.runtime.console import Console
    from ociworks.runtime.launcher import Spawned
    from ociworks.runtime.stdio import Streams

__all__ = ["Follower", "GaveUp"]

_NOT_FOUND = (1, 2, 8, 13, 20)  # EPERM, ENOENT, ENOEXEC, EACCES, ENOTDIR


class GaveUp(Exception):
    """A list of calls (``_listed``) expected something that was not so; nothing is wrong with the container."""


class Follower:
    """One init's progress. ``points`` are called when the init reaches them; the terminal is kept in ``console``."""

    def __init__(self, spawned: Spawned, points: Points | None = None) -> None:
        self._spawned = spawned
        self._points = dict(points or {})
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
            kind, body, fds = self._receive()
            if kind == wire.READY:
                return True
            if not kind:
                return False
            if kind == wire.CONSOLE and fds:
                from ociworks.runtime.console import Console

                self.console = Console(fds[0])
            elif kind == wire.POINT:
                self._reach(body, fds)
            elif kind == wire.FAILED:
                raise _gave_up(body) or failure(body)
            else:
                raise LauncherError(f"unexpected message {kind!r} from a container's init")

    def _receive(self) -> tuple[bytes, bytes, list[int]]:
        """The next message; of one that is not in the table nothing stays open here (RT-23)."""
        try:
            kind, body, fds = wire.receive(self._spawned.sync, wire.MOST_ATTACHED)
            wire.expect(kind, body, fds)
        except wire.ProtocolError as error:
            raise LauncherError(f"a container's init: {error}") from error
        if kind == wire.CONSOLE and self.console is not None:
            wire.close_all(fds)
            raise LauncherError("a container's init sent a second terminal")
        return kind, body, fds

    def _reach(self, name: bytes, fds: list[int]) -> None:
        point = name.decode("ascii", "replace")
        action = self._points.get(point) if point in wire.REPEATED else self._points.pop(point, None)
        if action is None:
            wire.close_all(fds)
            raise LauncherError(f"a container's init reached point {name!r}, which is unknown or behind it")
        action(*fds)
        self.go_on()


def _gave_up(body: bytes) -> GaveUp | None:
    try:
        number, index, step, said, _ = wire.unpack_failure(body)
    except wire.ProtocolError:
        return None
    return GaveUp(f"step {index}, {_shown(said)}: errno {number}") if step == wire.LISTED else None


def failure(body: bytes) -> CreateFailed:
    """The error for a step that failed in an init."""
    try:
        number, index, step, said, path = wire.unpack_failure(body)
    except wire.ProtocolError as error:
        return CreateFailed(f"a container's init failed and could not say why: {error}", step="init")
    text, shown = _shown(said or _meaning(number, step, path)), _shown(path)
    if step in ("execute", "find_program"):
        kind: type[CreateFailed] = CommandNotFound if number in _NOT_FOUND else CreateFailed
        named = f"exec {shown}" if step == "execute" and "/" in path else f"exec: {shown}"
        return kind(f"{named}: {text}" if path else f"exec: {text}", step=step, errno=number, path=path)
    where = f" ({shown})" if path else ""
    return CreateFailed(f"step {index}, {_shown(step)}: {text}{where}", step=step, errno=number, path=path)


def _meaning(number: int, step: str, path: str) -> str:
    """What a list of system calls leaves to us to say."""
    if not number:
        return "the kernel did something else than was asked"
    if step == "execute" and "/" not in path and number in (errno.ENOENT, errno.ENOTDIR):
        return "executable file not found in $PATH"
    return os.strerror(number).lower() if step == "execute" else os.strerror(number)


def _shown(text: str) -> str:
    """Text of an init, or of an image through it, for a message: what a terminal would obey is escaped."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
