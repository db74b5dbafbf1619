"""A helper for one pod: makes what only a process with one thread can make, and leaves a process in it if asked.

It lives for one request on its control channel (``wire.send_frame``). It answers with the pid of the process in the
new namespaces and descriptors of these; at ``G`` the process stays, at end of file it ends.
"""

from __future__ import annotations

import _signal
import _socket
import os
import sys

from ociworks._linux import mount, process
from ociworks.runtime._cgroupfs import open_tasks, open_unified
from ociworks.runtime._init import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final

__all__ = ["main"]

_AT_FDCWD: Final = -100
_SECUREBITS: Final = 28
_NO_ROOT: Final = 1 | 2
_NO_NEW_PRIVS: Final = 38
_PRIVATE_ROOT: Final = mount.ATTR_RDONLY | mount.ATTR_NOSUID | mount.ATTR_NODEV | mount.ATTR_NOEXEC


def main(control_fd: int, caller_pid: int) -> None:  # noqa: ARG001 - helpers share one signature
    """Serve the one request on the control channel; never returns."""
    control = _socket.socket(fileno=control_fd)
    sys.meta_path.clear()
    try:
        received = wire.receive_frame(control)
        if received is not None:
            _serve(control, *received)
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else ""
        text = error.strerror or str(error)
        wire.send(control, wire.FAILED, wire.pack_failure(error.errno or 0, 0, "pod", text, name))
    finally:
        os._exit(0)


def _serve(control: _socket.socket, request: Mapping[str, Any], fds: Sequence[int]) -> None:
    joins = request["joins"]
    for kind, fd in zip(joins, fds, strict=False):
        process.setns(fd, kind)
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    flags = (process.CLONE_NEWUSER if request["uid_map"] else 0) | (
        process.CLONE_NEWPID if request["held"] else 0
    )
    tasks = open_tasks(request["tasks"])
    pid, _ = process.clone(flags, cgroup=open_unified(request["unified"]))
    if not pid:
        ours.close()
        control.close()
        _child(theirs, request, tasks, fds[-1] if request["held"] else -1)
    theirs.close()
    _map(pid, request)
    ours.send(wire.CONTINUE)
    kind, body, _ = wire.receive(ours)
    if kind != wire.READY:
        wire.send(control, kind or wire.FAILED, body or wire.pack_failure(0, 0, "pod", "it ended", ""))
        return
    found = [os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in request["answer"]]
    wire.send(control, wire.SPAWNED, wire.pack_number(pid), found)
    if control.recv(1) == wire.CONTINUE:
        ours.send(wire.CONTINUE)
        # The end of file says that the program is executing: its end is closed then.
        control.send(wire.DONE if not ours.recv(1) and _is_alive(pid) else wire.FAILED)
    else:
        ours.close()
        os.waitpid(pid, 0)


def _child(sync: _socket.socket, request: Mapping[str, Any], tasks: Sequence[int], program: int) -> None:
    """In the new namespaces: make the others in them, wait, become the program or end."""
    try:
        for fd in tasks:
            os.write(fd, b"0")
        if wire.receive(sync)[0] != wire.CONTINUE:
            os._exit(1)
        if request["uid_map"]:
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
        process.unshare(request["make"] | (process.CLONE_NEWNS if request["held"] else 0))
        if request["held"]:
            _into_an_empty_root()
            _drop_privileges(*request["identity"])
        wire.send(sync, wire.READY)
        if wire.receive(sync)[0] == wire.CONTINUE and request["held"]:
            process.close_on_exec_from(0)
            os.execve(program, ["ociworks-pause"], {})
    except OSError as error:
        text = error.strerror or str(error)
        wire.send(sync, wire.FAILED, wire.pack_failure(error.errno or 0, 0, "namespaces", text, ""))
    finally:
        os._exit(1)


def _into_an_empty_root() -> None:
    """Nothing of the host is to be found through ``/proc/1`` of the new process namespace."""
    mount.set_attributes(_AT_FDCWD, propagation=mount.MS_PRIVATE, recursive=True, path="/")
    root = mount.make_filesystem("tmpfs", (("size", "4096"), ("mode", "555")), _PRIVATE_ROOT)
    place = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mount.attach(root, place)
    os.fchdir(root)
    mount.pivot_root(".", ".")
    mount.unmount(".", mount.MNT_DETACH)
    os.chdir("/")
    os.close(place)
    os.close(root)


def _drop_privileges(uid: int, gid: int) -> None:
    process.prctl(_NO_NEW_PRIVS, 1)
    process.prctl(_SECUREBITS, _NO_ROOT)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    for number in range(1, _signal.NSIG):
        if number not in (_signal.SIGKILL, _signal.SIGSTOP, _signal.SIGCHLD, 32, 33):
            _signal.signal(number, _signal.SIG_DFL)
    process.default_internal_signals()
    _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)


def _map(pid: int, request: Mapping[str, Any]) -> None:
    for name in ("gid_map", "uid_map"):
        if request[name]:
            _write(f"/proc/{pid}/{name}", request[name])


def _write(name: str, text: str) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from None
    finally:
        os.close(fd)


def _is_alive(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
