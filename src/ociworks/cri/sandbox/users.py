"""Namespaces of a pod with a user namespace: made by a process of their own, as only one with a single thread can.

It is a list of system calls (``_linux.calls``) that stops twice: for its maps, and to have its namespaces opened.
Where there is to be a process namespace too, or no such list on this machine, it is a helper,
``runtime/_init/pod.py``: a bare interpreter that lives for one request.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from ociworks._linux import calls, process
from ociworks._linux.calls import CallList
from ociworks._linux.memfd import sealed
from ociworks.cri.sandbox.namespaces import KINDS
from ociworks.cri.sandbox.options import IdMap, Sharing
from ociworks.cri.sandbox.pause import Holder
from ociworks.errors import NotSupported, PodError
from ociworks.runtime import _sealed
from ociworks.runtime._init import wire

__all__ = ["made"]

_MODULE: Final = "ociworks.runtime._init.pod"
_READY: Final = b"R"
_GO: Final = b"G"
_FAILED: Final = b"F" + bytes(4)
"""With room for the errno."""


@contextmanager
def made(sharing: Sharing, holder: Holder | None) -> Iterator[Mapping[str, int]]:
    """Make a pod's user namespace and the others in it: name → descriptor. They go when nobody has pinned them then.

    With a ``holder`` there is a process namespace too, whose process waits at the holder's gate. Raises PodError.
    """
    names = [name for name, kind in KINDS.items() if kind & sharing.private or (name == "pid" and holder)]
    make = (
        _by_calls(sharing, names)
        if holder is None and calls.SUPPORTED
        else _by_helper(sharing, holder, names)
    )
    with make as found:
        yield found


@contextmanager
def _by_calls(sharing: Sharing, names: Sequence[str]) -> Iterator[Mapping[str, int]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ExitStack() as stack:
        stack.enter_context(ours)
        with theirs:
            ours.send(_list(sharing.private & ~process.CLONE_NEWUSER))
            pid = _spawned(theirs.fileno())
        stack.callback(os.waitpid, pid, 0)
        stack.callback(ours.close)
        try:
            _expect(ours, "unshare")
            for name, maps in (("gid_map", sharing.gids), ("uid_map", sharing.uids)):
                _write(f"/proc/{pid}/{name}", _lines(maps).encode())
            ours.send(_GO)
            _expect(ours, "unshare")
            found = {name: os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names}
        except OSError as error:
            raise PodError(f"user namespace: {error.filename or 'unshare'}: {error.strerror}") from error
        for fd in found.values():
            stack.callback(os.close, fd)
        yield found


def _list(others: int) -> bytes:
    """What the process does: a user namespace, when it has its maps the others, and then it waits to be told to end."""
    made = CallList()
    ready, byte = made.put(_READY), made.put(bytes(1))
    made.report(0, _FAILED)
    made.call("unshare", process.CLONE_NEWUSER)
    made.call("write", 0, ready, len(_READY), expected=len(_READY))
    made.call("read", 0, byte, 1, expected=1)
    made.call("setresgid", 0, 0, 0)
    made.call("setresuid", 0, 0, 0)
    made.call("unshare", others)
    made.call("write", 0, ready, len(_READY), expected=len(_READY))
    made.call("read", 0, byte, 1, expected=0)
    made.call("exit_group", 0)
    return made.finish()


def _spawned(channel: int) -> int:
    try:
        program = sealed(calls.program(), "ociworks-users")
    except PermissionError:
        raise NotSupported("this host forbids executable memfds (sysctl vm.memfd_noexec)") from None
    try:
        actions = [(os.POSIX_SPAWN_DUP2, channel, 0), *((os.POSIX_SPAWN_CLOSE, fd) for fd in (1, 2))]
        return os.posix_spawn(f"/proc/self/fd/{program}", ["ociworks-users"], {}, file_actions=actions)
    finally:
        os.close(program)


def _expect(channel: socket.socket, step: str) -> None:
    """Its next stop. OSError with what it failed with."""
    answer = channel.recv(len(_FAILED))
    if answer != _READY:
        number = struct.unpack("!I", answer[1:])[0] if len(answer) == len(_FAILED) else errno.ECHILD
        raise OSError(number, os.strerror(number), step)


def _write(name: str, content: bytes) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from None
    finally:
        os.close(fd)


@contextmanager
def _by_helper(sharing: Sharing, holder: Holder | None, names: Sequence[str]) -> Iterator[Mapping[str, int]]:
    ours, gate = socket.socketpair()
    helper, control = _sealed.start(_MODULE)
    fds: list[int] = []
    try:
        with ours, gate, socket.socket(fileno=control) as channel:
            passed = holder.gate if holder else gate
            wire.send_frame(channel, _request(sharing, holder, names), (passed.fileno(),))
            gate.close()
            pid, fds = _answer(channel, len(names))
            if holder:
                holder.pid = pid
            yield dict(zip(names, fds, strict=True))
    finally:
        wire.close_all(fds)
        with suppress(ChildProcessError):
            os.waitpid(helper, 0)


def _request(sharing: Sharing, holder: Holder | None, names: Sequence[str]) -> dict[str, object]:
    return {
        "uid_map": _lines(sharing.uids),
        "gid_map": _lines(sharing.gids),
        "make": sharing.private & ~process.CLONE_NEWUSER,
        "names": tuple(names),
        "program": holder.program if holder else b"",
    }


def _answer(channel: socket.socket, count: int) -> tuple[int, list[int]]:
    kind, body, fds = wire.receive(channel, count)
    if kind == wire.SPAWNED and len(fds) == count:
        return wire.unpack_number(body), fds
    wire.close_all(fds)
    if kind != wire.FAILED:
        raise PodError("user namespace: the helper ended without an answer")
    _, _, step, text, path = wire.unpack_failure(body)
    raise PodError(f"{step}: {text}{f': {path}' if path else ''}")


def _lines(maps: Sequence[IdMap]) -> str:
    return "".join(f"{inside} {outside} {length}\n" for inside, outside, length in maps)
