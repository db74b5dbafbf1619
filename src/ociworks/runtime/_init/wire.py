"""Messages between the caller, the launcher and an init.

Four channels, each read by one side only:

=========  ======================  =======================================================================
channel    who → whom              messages
=========  ======================  =======================================================================
control    caller → launcher       one frame per request: ``spawn``, ``remove``, ``release``, ``forsake``, ``scratch``
                                   (a stream; marshal, with descriptors attached; marshal is safe here because
                                   both ends are the same interpreter binary and the caller is trusted)
monitor    launcher → caller       ``P`` spawned (pid; a pidfd is attached) or ``E`` failed, later ``X`` ended (status);
                                   ``D`` done, the answer to the other requests
           caller → shim           of a detached container only: ``C`` the terminal's master (attached), ``K`` keep it
                                   (the paths of its control groups, if another program made them, NUL between them);
                                   the answer is ``D``. End of file before that: remove everything, then ``D``
           caller → porter         of a detached exec only: ``K`` let it go; the answer is the end of file
sync       init → caller           ``S`` a named point is reached, ``R`` ready to start (and no more: the channel to
                                   whoever starts it takes its place), ``C`` the terminal's master (attached),
                                   ``E`` a step failed; end of file: the program is executing
           caller → init           ``G`` go on
groups     launcher → init         ``G`` the control groups are ready (the files to enter them by are attached)
=========  ======================  =======================================================================

The control channel ends with the caller: at end of file the launcher removes everything it was entrusted with.
Monitor and sync keep message boundaries (SOCK_SEQPACKET). What an init says is never unmarshalled by the caller,
only parsed by the fixed schema below.
"""

from __future__ import annotations

import _socket
import errno
import marshal
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

CONTINUE: Final = b"G"
READY: Final = b"R"
POINT: Final = b"S"
CONSOLE: Final = b"C"
FAILED: Final = b"E"
SPAWNED: Final = b"P"
EXITED: Final = b"X"
DONE: Final = b"D"
KEEP: Final = b"K"

LISTED: Final = "list of calls"
"""The step of a failure that says only that a list (``_listed``) gave up; its text is the operation."""

CREATE_RUNTIME: Final = "createRuntime"
NETWORK_DEVICES: Final = "netDevices"
LISTENER: Final = "seccompFd"
MAP_IDS: Final = "mapIds"
MAP_ALL_IDS: Final = "mapAllIds"
"""The points that an init reaches: for hooks, and with descriptors to do something with, attached."""
REPEATED: Final = frozenset({MAP_IDS, MAP_ALL_IDS})
"""Those that it may reach more than once: for each bind that only shows in the container what is to be mapped."""

_ATTACHED: Final = {
    (CONSOLE, b""): 1,
    (POINT, NETWORK_DEVICES.encode()): 1,
    (POINT, LISTENER.encode()): 1,
    (POINT, MAP_IDS.encode()): 2,
    (POINT, MAP_ALL_IDS.encode()): 2,
}
"""How many descriptors come with what an init says, where it is not none."""

MOST_ATTACHED: Final = 2

MAX_MESSAGE: Final = 16384
MAX_FRAME: Final = 64 << 20
MAX_FDS: Final = 200

_HEADER: Final = struct.Struct("!II")
_FAILURE: Final = struct.Struct("!II")
_NUMBER: Final = struct.Struct("!q")
_INT: Final = struct.Struct("i")


class ProtocolError(Exception):
    """The other side said something that is not in the table."""


def send_frame(channel: _socket.socket, request: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one request on the control channel, with descriptors attached to its header."""
    body = marshal.dumps(request)
    if len(body) > MAX_FRAME or len(fds) > MAX_FDS:
        raise OSError(errno.EMSGSIZE, "a request to the launcher is larger than its channel allows")
    frame = _HEADER.pack(len(body), len(fds)) + body
    sent = _send_with_fds(channel, frame, fds)
    if sent < len(frame):
        channel.sendall(frame[sent:])


def receive_frame(channel: _socket.socket) -> tuple[Any, list[int]] | None:
    """The next request and its descriptors; None at end of file."""
    header, fds = _receive_with_fds(channel, _HEADER.size, MAX_FDS)
    if not header:
        return None
    while len(header) < _HEADER.size:
        header += _some(channel, _HEADER.size - len(header))
    length, count = _HEADER.unpack(header)
    if length > MAX_FRAME or count != len(fds):
        close_all(fds)
        raise ProtocolError(f"frame of {length} bytes with {len(fds)} descriptors instead of {count}")
    body = bytearray()
    while len(body) < length:
        body += _some(channel, length - len(body))
    return marshal.loads(body), fds


def _some(channel: _socket.socket, size: int) -> bytes:
    data = channel.recv(min(size, 1 << 20))
    if not data:
        raise ProtocolError("end of file inside a frame")
    return data


def send(channel: _socket.socket, kind: bytes, body: bytes = b"", fds: Sequence[int] = ()) -> None:
    """Send one message on monitor or sync."""
    _send_with_fds(channel, kind + body[: MAX_MESSAGE - 1], fds)


def receive(channel: _socket.socket, most: int = 1) -> tuple[bytes, bytes, list[int]]:
    """The next message as (kind, body, at most ``most`` descriptors); kind is empty at end of file.

    An other side that ended without reading what we said is an end of file too.
    """
    try:
        data, fds = _receive_with_fds(channel, MAX_MESSAGE, most)
    except ConnectionResetError:
        return b"", b"", []
    return data[:1], data[1:], fds


def expect(kind: bytes, body: bytes, fds: Sequence[int]) -> None:
    """Close the descriptors and raise ProtocolError when it is not their number that comes with this message."""
    if len(fds) != _ATTACHED.get((kind, body), 0):
        close_all(fds)
        raise ProtocolError(f"message {kind!r} with {len(fds)} descriptors")


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors that came with a message and have no place in it."""
    for fd in fds:
        os.close(fd)


def pack_number(value: int) -> bytes:
    """The body of SPAWNED (a pid) and EXITED (a wait status as subprocess has it: negative for a signal)."""
    return _NUMBER.pack(value)


def unpack_number(body: bytes) -> int:
    """The reverse of :func:`pack_number`."""
    if len(body) != _NUMBER.size:
        raise ProtocolError(f"expected {_NUMBER.size} bytes, got {len(body)}")
    value: int = _NUMBER.unpack(body)[0]
    return value


def exit_status(result: os.waitid_result | None) -> int:
    """What the kernel says of an ended child, as subprocess has it: negative for a signal."""
    if result is None:
        return 0
    return -result.si_status if result.si_code in (os.CLD_KILLED, os.CLD_DUMPED) else result.si_status


def pack_failure(number: int, index: int, step: str, text: str, path: str) -> bytes:
    """The body of FAILED: errno (0: none), index of the operation, its name, what happened, the path if one matters."""
    parts = [
        part.replace("\0", "\\0").encode("utf-8", "backslashreplace")[:4096] for part in (step, text, path)
    ]
    return _FAILURE.pack(number, index) + b"\0".join(parts)


def unpack_failure(body: bytes) -> tuple[int, int, str, str, str]:
    """The reverse of :func:`pack_failure`."""
    parts = body[_FAILURE.size :].split(b"\0")
    if len(body) < _FAILURE.size or len(parts) != 3:
        raise ProtocolError("a failure without its fields")
    number, index = _FAILURE.unpack_from(body)
    step, text, path = (part.decode("utf-8", "backslashreplace") for part in parts)
    return number, index, step, text, path


def _send_with_fds(channel: _socket.socket, data: bytes, fds: Sequence[int]) -> int:
    if fds:
        rights = b"".join(_INT.pack(fd) for fd in fds)
        return channel.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
    return channel.send(data)


def _receive_with_fds(channel: _socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    space = _socket.CMSG_SPACE(most * _INT.size)
    data, ancillary, flags, _ = channel.recvmsg(size, space, _socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, rights in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds.extend(value for (value,) in _INT.iter_unpack(rights[: len(rights) // _INT.size * _INT.size]))
    if flags & (_socket.MSG_CTRUNC | _socket.MSG_TRUNC) or len(fds) > most:  # padding has room for one more
        close_all(fds)
        raise ProtocolError("a message or its descriptors were cut")
    return data, fds
