"""Speaks to ``criu swrk``: one request, notifications that are answered, one response (criu's rpc.proto).

The messages are Protocol Buffers, of which numbers, strings and messages are all that is used: each a field number
with one of two wire types. What criu says is parsed with bounds; a message that is none is a CheckpointFailed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final

from attrs import field, frozen

from ociworks.errors import CheckpointFailed

__all__ = ["DUMP", "PRE_DUMP", "RESTORE", "Notified", "Response", "Value", "ask", "message", "parse"]

Value = bool | int | str | bytes | tuple[str | bytes, ...]
"""Of a field: a message within is bytes, as :func:`message` makes them; a tuple is a field that repeats."""

DUMP: Final = 1
RESTORE: Final = 2
_NOTIFY: Final = 6
PRE_DUMP: Final = 13
"""Single: criu ends after it."""

_OPTIONS: Final = {
    "images_dir_fd": 1, "pid": 2, "leave_running": 3, "ext_unix_sk": 4, "tcp_established": 5, "evasive_devices": 6,
    "shell_job": 7, "file_locks": 8, "log_level": 9, "log_file": 10, "ps": 11, "notify_scripts": 12, "root": 13,
    "parent_img": 14, "track_mem": 15, "auto_dedup": 16, "work_dir_fd": 17, "link_remap": 18, "cg_root": 25,
    "rst_sibling": 26, "inherit_fd": 27, "manage_cgroups_mode": 34, "external": 37, "empty_ns": 38, "join_ns": 39,
    "freeze_cgroup": 44, "tcp_skip_in_flight": 46, "lazy_pages": 48, "status_fd": 49, "orphan_pts_master": 50,
    "config_file": 51, "lsm_profile": 53, "lsm_mount_context": 63,
}  # fmt: skip
"""criu_opts by the names that they have there."""
_TYPE, _OPTS, _NOTIFY_SUCCESS = 1, 2, 3
_SUCCESS, _RESTORED, _NOTICE = 2, 4, 5
_SCRIPT, _PID = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_MESSAGE: Final = 1 << 16
_MAX_VARINT: Final = 10


@frozen
class Notified:
    """What criu reports while it works: the name of a point, the pid of the first process or 0, a descriptor or -1."""

    script: str
    pid: int
    fd: int = -1


@frozen
class Response:
    """How a request ended: whether it was done, and the pid of the first process that was restored."""

    success: bool = False
    pid: int = 0


@frozen
class _Message:
    """The fields of a message; of one that repeats, the last."""

    fields: Mapping[int, int | bytes] = field(factory=dict)

    def number(self, of: int) -> int:
        found = self.fields.get(of, 0)
        return found if isinstance(found, int) else 0

    def inner(self, of: int) -> _Message:
        found = self.fields.get(of, b"")
        return _Message(parse(found)) if isinstance(found, bytes) else _Message()

    def text(self, of: int) -> str:
        found = self.fields.get(of, b"")
        return found.decode("utf-8", "backslashreplace") if isinstance(found, bytes) else ""


def ask(
    channel: socket.socket,
    kind: int,
    options: Mapping[str, Value],
    notified: Callable[[Notified], object],
    deadline: float | None = None,
) -> Response:
    """Have criu do something; ``notified`` is called while it waits, and what that raises makes it give up.

    A criu that ended without an answer is one that failed. Raises CheckpointFailed for what it should not say, and
    TimeoutError when it says nothing until ``deadline``, of the monotonic clock.
    """
    opts = message({_OPTIONS[name]: value for name, value in options.items()})
    _send(channel, {_TYPE: kind, _OPTS: opts})
    while True:
        channel.settimeout(_left(deadline))
        said, fd = _receive(channel)
        if said.number(_TYPE) != _NOTIFY:
            _close(fd)
            return Response(bool(said.number(_SUCCESS)), said.inner(_RESTORED).number(1))
        _notice(channel, said.inner(_NOTICE), fd, notified)


def _left(deadline: float | None) -> float | None:
    """The seconds until then. TimeoutError when there are none."""
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _notice(
    channel: socket.socket, notice: _Message, fd: int, notified: Callable[[Notified], object]
) -> None:
    done = False
    try:
        notified(Notified(notice.text(_SCRIPT), notice.number(_PID), fd))
        done = True
    finally:
        _send(channel, {_TYPE: _NOTIFY, _NOTIFY_SUCCESS: done})


def _send(channel: socket.socket, fields: Mapping[int, Value]) -> None:
    """A criu that has ended is noticed by what it does not say."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        channel.send(message(fields))


def _receive(channel: socket.socket) -> tuple[_Message, int]:
    """A message and the descriptor that came with it; of type 0 when criu has ended."""
    try:
        data, fds, flags, _ = socket.recv_fds(channel, _MAX_MESSAGE, 1, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return _Message(), -1
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) or len(fds) > 1:
        for fd in fds:
            os.close(fd)
        raise CheckpointFailed("criu said more than is expected of it", log="")
    return _Message(parse(data)), fds[0] if fds else -1


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)


def message(fields: Mapping[int, Value]) -> bytes:
    """A message of fields by number."""
    found = bytearray()
    for number, value in fields.items():
        for each in value if isinstance(value, tuple) else (value,):
            found += _field(number, each)
    return bytes(found)


def _field(number: int, value: bool | int | str | bytes) -> bytes:  # noqa: FBT001 - a value, not a switch
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    raw = os.fsencode(value)
    return _varint(number << 3 | _BYTES) + _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def parse(data: bytes) -> dict[int, int | bytes]:
    """The fields of a message by number; of one that repeats, the last. CheckpointFailed when it is none."""
    found: dict[int, int | bytes] = {}
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            found[key >> 3], at = _read_varint(data, at)
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(kind, -1)
        if kind == _BYTES:
            size, at = _read_varint(data, at)
        if not 0 <= size <= len(data) - at:
            raise CheckpointFailed("criu said something that is no message of its protocol", log="")
        found[key >> 3] = data[at : at + size]
        at += size
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(data[at : at + _MAX_VARINT]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise CheckpointFailed("criu said a number without an end", log="")
