"""What needs a process: a user namespace while it is made, and a process namespace that containers share.

The helper (``runtime/_init/pod.py``) is a bare interpreter that lives for one request. What stays for a shared process
namespace is not it but a program of a few instructions, which sleeps as its first process: the kernel reaps orphans
for a first process that ignores SIGCHLD. It has no privileges, an empty root and 12 KiB of memory.
"""

from __future__ import annotations

import fcntl
import os
import platform
import select
import signal
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, Self

from attrs import frozen

from ociworks._linux import process
from ociworks.cri.sandbox.namespaces import KINDS
from ociworks.cri.sandbox.options import IdMap
from ociworks.errors import NotSupported, PodError
from ociworks.runtime import _sealed
from ociworks.runtime._init import wire
from ociworks.spec.numbers import parse_uint

__all__ = ["Making", "Wanted", "end", "is_alive"]

_MODULE: Final = "ociworks.runtime._init.pod"
_CODE: Final[Mapping[str, tuple[int, bytes]]] = {
    "x86_64": (62, bytes.fromhex("6a22 58 0f05 ebf9")),
    "aarch64": (
        183,
        struct.pack(
            "<8I",
            *(0xD2800000 | register for register in range(5)),
            0xD2800928,
            0xD4000001,
            0x17FFFFF9,
        ),
    ),
}
"""Machine → its number in ELF, and the loop: pause(2), or ppoll(2) of nothing without end."""
_BASE: Final = 0x400000
_HEADERS: Final = 64 + 2 * 56
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_NOBODY: Final = 65534
_PATIENCE: Final = 30.0
"""Seconds for the kernel to end everything in a process namespace."""


@frozen(kw_only=True)
class Wanted:
    """What the helper shall make."""

    uids: tuple[IdMap, ...] = ()
    gids: tuple[IdMap, ...] = ()
    make: int = 0
    """Namespaces (CLONE_NEW* of net, ipc, uts) of the new user namespace."""
    held: bool = False
    """Whether a process stays and holds a process namespace."""
    tasks: tuple[str, ...] = ()
    """Files of version 1 control groups that this process enters by itself."""
    unified: str = ""
    """The version 2 control group that it is made in."""


class Making:
    """Namespaces in the making, as a context manager; ``namespaces`` are descriptors by name.

    Leaving it without :meth:`keep` ends the process. Raises PodError when the kernel refuses, NotSupported on other
    machines than x86-64 and ARM64 when a process namespace is wanted.
    """

    def __init__(self, wanted: Wanted, joined: Mapping[str, int]) -> None:
        program = _program() if wanted.held else -1
        try:
            self._helper, control = _sealed.start(_MODULE)
            self._control = socket.socket(fileno=control)
            try:
                fds = (*joined.values(), *((program,) if program >= 0 else ()))
                wire.send_frame(self._control, _request(wanted, joined), fds)
                self.pid, self.namespaces = self._answer(wanted)
            except BaseException:
                self.close()
                raise
        finally:
            if program >= 0:
                os.close(program)
        self.identity = f"{self.pid}/{_started(self.pid)}" if wanted.held else ""
        """What finds the process again, and no other one: pid and start time."""

    def keep(self) -> None:
        """Let the process hold its namespace from now on. Everything that finds it again must be on disk."""
        self._control.sendall(b"G")
        if self._control.recv(1) != b"D":
            raise PodError("process namespace: its first process ended")

    def close(self) -> None:
        """Close what is ours; without :meth:`keep`, the process ends."""
        for fd in getattr(self, "namespaces", {}).values():
            os.close(fd)
        self.namespaces = {}
        self._control.close()
        with suppress(ChildProcessError):
            os.waitpid(self._helper, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, wanted: Wanted) -> tuple[int, dict[str, int]]:
        names = [name for name in KINDS if _is_made(name, wanted)]
        kind, body, fds = wire.receive(self._control, len(names) or 1)
        if kind == wire.SPAWNED and len(fds) == len(names):
            return wire.unpack_number(body), dict(zip(names, fds, strict=True))
        wire.close_all(fds)
        if kind != wire.FAILED:
            raise PodError("namespaces: the helper ended without an answer")
        _, _, step, text, path = wire.unpack_failure(body)
        raise PodError(f"namespaces: {step}: {text}{f': {path}' if path else ''}")


def is_alive(identity: str) -> bool:
    """Whether the process of this identity is there."""
    pid, started = _parse(identity)
    return _started(pid) == started


def end(identity: str) -> None:
    """Kill it, and with it everything in its namespace; returns when all is gone. Again is harmless."""
    pid, started = _parse(identity)
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _started(pid) != started:
            return
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        if not poller.poll(_PATIENCE * 1000):
            raise PodError(f"process {pid} is still there {_PATIENCE:g} seconds after SIGKILL")
        with suppress(ChildProcessError):  # we may be its parent, if nobody nearer to the root adopts orphans
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)


def _request(wanted: Wanted, joined: Mapping[str, int]) -> dict[str, object]:
    return {
        "joins": tuple(KINDS[name] for name in joined),
        "uid_map": _lines(wanted.uids),
        "gid_map": _lines(wanted.gids),
        "make": wanted.make,
        "answer": tuple(name for name in KINDS if _is_made(name, wanted)),
        "held": wanted.held,
        "identity": (_nobody(wanted.uids), _nobody(wanted.gids)),
        "tasks": wanted.tasks,
        "unified": wanted.unified,
    }


def _is_made(name: str, wanted: Wanted) -> bool:
    kind = KINDS[name]
    if kind == process.CLONE_NEWUSER:
        return bool(wanted.uids)
    return wanted.held if kind == process.CLONE_NEWPID else bool(kind & wanted.make)


def _nobody(maps: Sequence[IdMap]) -> int:
    """An unprivileged ID: nobody's, or the last one that is mapped."""
    if not maps or any(inside <= _NOBODY < inside + length for inside, _, length in maps):
        return _NOBODY
    return max(inside + length - 1 for inside, _, length in maps)


def _lines(maps: Sequence[IdMap]) -> str:
    return "".join(f"{inside} {outside} {length}\n" for inside, outside, length in maps)


def _parse(identity: str) -> tuple[int, int]:
    pid, _, started = identity.partition("/")
    return parse_uint(pid, 1 << 31, "pid"), parse_uint(started, 1 << 63, "start time")


def _started(pid: int) -> int:
    """When a process started, in ticks since boot; 0 when it is gone or has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:  # trusted: the kernel's
            fields = stream.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])  # trusted: the kernel's


def _program() -> int:
    """A sealed memfd with the program; executable, but not readable for the user that runs it."""
    if platform.machine() not in _CODE:
        raise NotSupported(f"a process namespace that containers share: not on {platform.machine()}")
    number, code = _CODE[platform.machine()]
    fd = os.memfd_create("ociworks-pause", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(fd, _elf(number, code))
        os.fchmod(fd, 0o511)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _elf(machine: int, code: bytes) -> bytes:
    """The smallest program: one segment to execute, and a stack that is not executable (elf(5))."""
    size = _HEADERS + len(code)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        2,
        machine,
        1,
        _BASE + _HEADERS,
        64,
        0,
        0,
        64,
        56,
        2,
        0,
        0,
        0,
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x10000)
    stack = struct.pack("<IIQQQQQQ", 0x6474E551, 6, 0, 0, 0, 0, 0, 16)
    return header + segment + stack + code
