"""The gate of a created container: a socket in its private directory, behind which its first process waits.

::

    start                                first process
    connect ──────────────────────────>  accept            (only who may enter the directory can)
    "go on" ──────────────────────────>  start hooks, last rights, execve
            <──────────────────────────  a failed step, or end of file: the program is executing

Any process may be the one that starts; it hears what went wrong, which a FIFO could not tell. The gate's file is
removed once it was opened: a container without one has been started. Who connects and goes away has changed nothing.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct

from ociworks.runtime import state
from ociworks.runtime._init import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["open_gate"]

_CREDENTIALS: Final = struct.Struct("3i")


def open_gate(root: str, record: state.Record) -> bytes:
    """Let a created container run; returns when its program executes (empty) or with the body of what failed.

    The caller holds the lock. Raises OSError when nobody waits behind the gate, or somebody else does.
    """
    place = os.open(f"{root}/{record.id}", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        channel.connect(
            f"/proc/self/fd/{place}/{state.GATE}"
        )  # the whole path may be too long for an address
        _prove(channel, record.pid)
        wire.send(channel, wire.CONTINUE)
        kind, body, fds = wire.receive(channel)
        if kind == wire.POINT and body == wire.LISTENER.encode():
            wire.expect(kind, body, fds)
            _reach(root, record, fds)
            wire.send(channel, wire.CONTINUE)
            kind, body, fds = wire.receive(channel)
        os.unlink(state.GATE, dir_fd=place)
        return _last(kind, body, fds)
    except ConnectionRefusedError:
        os.unlink(state.GATE, dir_fd=place)  # opened by somebody who ended before tidying up
        raise
    except wire.ProtocolError as error:
        raise OSError(errno.EPROTO, str(error)) from error
    finally:
        channel.close()
        os.close(place)


def _reach(root: str, record: state.Record, fds: list[int]) -> None:
    """A filter that asks somebody was installed: give its descriptor away."""
    from ociworks.runtime._points import listener_point
    from ociworks.spec.runtime import State

    told = State(id=record.id, status="created", bundle=record.bundle, pid=record.pid)
    actions = listener_point(state.load_config(root, record.id), told, record.pid)
    actions[wire.LISTENER](*fds)


def _last(kind: bytes, body: bytes, fds: list[int]) -> bytes:
    """The last that a first process says here: nothing, or what failed."""
    wire.expect(kind, body, fds)
    if kind not in (b"", wire.FAILED):
        wire.close_all(fds)
        raise wire.ProtocolError(f"message {kind!r} instead of the end")
    return body


def _prove(channel: _socket.socket, pid: int) -> None:
    """The one who listens is the container's first process."""
    raw = channel.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _CREDENTIALS.size)
    found = _CREDENTIALS.unpack(raw)[0]
    if found != pid:
        raise PermissionError(1, f"expected process {pid} behind the gate, found {found}")
