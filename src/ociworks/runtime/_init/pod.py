"""A helper for one pod: makes what only a process with one thread can make, a user namespace and others in it.

It lives for one request on its control channel (``wire.send_frame``), which comes with a gate. It answers with the pid
of its child and descriptors of the namespaces that this made. The child then waits at the gate: it becomes the program
of the request, which does so itself, or ends when the gate closes.
"""

from __future__ import annotations

import _signal
import _socket
import os
import sys

from ociworks._linux import mount, process
from ociworks.runtime._init import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final

__all__ = ["PROGRAM", "into_an_empty_root", "main"]

PROGRAM: Final = "/ociworks-pause"
"""What :func:`into_an_empty_root` puts into it."""
_AT_FDCWD: Final = -100
_ROOT: Final = mount.ATTR_NOSUID | mount.ATTR_NODEV


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
        wire.send(control, wire.FAILED, wire.pack_failure(error.errno or 0, 0, "user namespace", text, name))
    finally:
        os._exit(0)


def into_an_empty_root(program: bytes) -> None:
    """Leave for a read-only root with nothing in it but ``program``, in a mount namespace of our own.

    Nothing of the host is to be found through ``/proc/1`` of a process namespace whose first process is here.
    """
    mount.set_attributes(_AT_FDCWD, propagation=mount.MS_PRIVATE, recursive=True, path="/")
    root = mount.make_filesystem("tmpfs", (("size", "4096"), ("mode", "555")), _ROOT)
    place = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        mount.attach(root, place)
        os.fchdir(root)
        if program:
            _put(program)
        mount.set_attributes(root, set_=mount.ATTR_RDONLY)
        mount.pivot_root(".", ".")
        mount.unmount(".", mount.MNT_DETACH)
        os.chdir("/")
    finally:
        os.close(place)
        os.close(root)


def _put(program: bytes) -> None:
    fd = os.open(PROGRAM[1:], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o500)
    try:
        os.write(fd, program)
        os.fchmod(fd, 0o111)
    finally:
        os.close(fd)


def _serve(control: _socket.socket, request: Mapping[str, Any], fds: Sequence[int]) -> None:
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    held = bool(request["program"])
    flags = process.CLONE_NEWUSER | (process.CLONE_NEWPID if held else 0)
    pid, _ = process.clone(flags)
    if not pid:
        ours.close()
        control.close()
        _child(theirs, request, fds[0])
    theirs.close()
    os.close(fds[0])
    for name in ("gid_map", "uid_map"):
        _write(f"/proc/{pid}/{name}", request[name])
    wire.send(ours, wire.CONTINUE)
    kind, body, _ = wire.receive(ours)
    if kind != wire.READY:
        failure = body or wire.pack_failure(0, 0, "user namespace", "its first process ended", "")
        wire.send(control, wire.FAILED, failure)
        return
    found = [os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in request["names"]]
    wire.send(control, wire.SPAWNED, wire.pack_number(pid), found)
    wire.close_all(found)
    if not held:
        os.waitpid(pid, 0)


def _child(sync: _socket.socket, request: Mapping[str, Any], gate: int) -> None:
    """In the user namespace: make the others in it, wait at the gate or become what does."""
    try:
        if wire.receive(sync)[0] != wire.CONTINUE:
            os._exit(1)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        held = bool(request["program"])
        process.unshare(request["make"] | (process.CLONE_NEWNS if held else 0))
        if held:
            into_an_empty_root(request["program"])
        wire.send(sync, wire.READY)
        if held:
            _become(gate)
        os.read(gate, 1)
    except OSError as error:
        text = error.strerror or str(error)
        wire.send(sync, wire.FAILED, wire.pack_failure(error.errno or 0, 0, "user namespace", text, ""))
    finally:
        os._exit(1)


def _become(gate: int) -> None:
    for number in range(1, _signal.NSIG):
        if number not in (_signal.SIGKILL, _signal.SIGSTOP, 32, 33):
            _signal.signal(number, _signal.SIG_DFL)
    process.default_internal_signals()
    process.close_on_exec_from(0)
    os.dup2(gate, 0)
    os.execve(PROGRAM, ["ociworks-pause"], {})


def _write(name: str, text: str) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from None
    finally:
        os.close(fd)
