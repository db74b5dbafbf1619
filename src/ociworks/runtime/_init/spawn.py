"""One process of a container: cloned, mapped, moved into namespaces, then handed to the executor of its plan.

::

    launcher ──clone3(new namespaces)──> init                                          (create)
    launcher ──clone3──> joiner ──setns…, clone3(CLONE_PARENT)──> process, joiner ends (exec, or namespaces by path)

Either way the process is a child of the launcher, which waits for it by pidfd.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os

from ociworks._linux import process
from ociworks.runtime import _cgroupfs
from ociworks.runtime._init import execute, wire
from ociworks.runtime._init.context import Context, StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final

__all__ = ["admit", "spawn"]

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_SIGKILL: Final = 9
_NS_GET_NSTYPE: Final = 0xB703
_FIRST_FREE: Final = 3
_HIGH: Final = 256


def spawn(
    request: Mapping[str, Any], fds: Sequence[int], last_capability: int, *, groups: int = -1, gate: int = -1
) -> tuple[int, int]:
    """Make the process that ``request`` describes; returns ``(pid, pidfd)``.

    ``fds`` are the sync socket, the three standard streams and, for an exec, the container's pidfd. ``gate`` is the
    socket at which an init waits to be started, ``groups`` the one over which it gets the files of its control groups
    (:func:`admit`); without that they are there already.
    Raises OSError or StepError when there is no process; what fails later comes over the sync channel.
    """
    tasks = [] if groups >= 0 else _cgroupfs.open_tasks(request["tasks"])
    joins: list[tuple[int, int]] = []
    mapped = os.pipe2(os.O_CLOEXEC) if request["maps"] else None
    unified = -1
    try:
        unified = _cgroupfs.open_unified(request["unified"])
        joins += _open_namespaces(request["joins"])
        if request["join_kinds"]:
            joins.append((os.dup(fds[4]), request["join_kinds"]))
        child = _Child(request, fds, tasks, last_capability, mapped)
        child.groups, child.gate = groups, gate
        pid, pidfd = _clone_joined(child, joins, unified) if joins else _clone(child, unified)
        if mapped is not None:
            _finish_mapping(pid, pidfd, request["maps"], mapped)
        return pid, pidfd
    finally:
        for fd in (*tasks, unified, *(fd for fd, _ in joins), *(mapped or ())):
            _close(fd)


def admit(channel: _socket.socket, tasks: Sequence[str]) -> None:
    """Give an init the files through which it enters its control groups; one that has failed needs none."""
    opened = _cgroupfs.open_tasks(tasks)
    try:
        wire.send(channel, wire.CONTINUE, fds=opened)
    except BrokenPipeError:
        return  # its sync channel says why
    finally:
        for fd in opened:
            os.close(fd)


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise


def _open_namespaces(joins: Sequence[tuple[int, str]]) -> list[tuple[int, int]]:
    """Open namespace files once and prove that each is a namespace of the kind that the configuration says."""
    opened: list[tuple[int, int]] = []
    try:
        for kind, path in joins:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            opened.append((fd, kind))
            try:
                found = fcntl.ioctl(fd, _NS_GET_NSTYPE)
            except OSError:
                raise StepError("expected a namespace file", path, errno.EINVAL) from None
            if found != kind:
                raise StepError(
                    f"expected a namespace of kind {kind:#x}, found {found:#x}", path, errno.EINVAL
                )
    except BaseException:
        for fd, _ in opened:
            os.close(fd)
        raise
    return opened


class _Child:
    """What a cloned process needs to become the container's; everything is inherited through the clone."""

    def __init__(
        self,
        request: Mapping[str, Any],
        fds: Sequence[int],
        tasks: Sequence[int],
        last_capability: int,
        mapped: tuple[int, int] | None,
    ) -> None:
        self.operations = request["ops"]
        self.flags = request["flags"]
        self.fds = fds
        self.tasks = tasks
        self.last_capability = last_capability
        self.mapped = mapped
        self.groups = self.gate = -1
        self.oom_score_adj = request["oom_score_adj"]
        self.joins_mounts = bool(request["join_kinds"] & process.CLONE_NEWNS)

    def run(self) -> None:
        """Never returns."""
        try:
            process.prctl(_PR_SET_PDEATHSIG, _SIGKILL)
            if self.mapped is not None:
                self._wait_mapped(*self.mapped)
            os.umask(0)
            execute.execute(self._context(), self.operations)
        finally:
            os._exit(255)

    def _wait_mapped(self, reader: int, writer: int) -> None:
        os.close(writer)
        if os.read(reader, 1) != b"1":
            os._exit(255)
        # Root of the new user namespace, where there is one; the identity of the program comes later.
        try:
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise

    def _context(self) -> Context:
        """Leave only the standard streams (0–2), sync (3) and the sockets for control groups and the gate open."""
        extra = [fd for fd in (self.groups, self.gate) if fd >= 0]
        keep = [self.fds[1], self.fds[2], self.fds[3], self.fds[0], *extra]
        moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH) for fd in keep]
        for place, fd in enumerate(moved):
            os.dup2(fd, place, inheritable=place < _FIRST_FREE)
        os.closerange(len(moved), max(moved) + 1)
        host_pid = 0 if self.joins_mounts else int(os.readlink("/proc/self"))  # trusted: the kernel's
        sync, *sockets = (_socket.socket(fileno=fd) for fd in range(_FIRST_FREE, len(moved)))
        gate = sockets.pop() if self.gate >= 0 else None
        groups = sockets.pop() if self.groups >= 0 else None
        return Context(sync, groups, gate, self.last_capability, host_pid)


def _clone(child: _Child, unified: int) -> tuple[int, int]:
    pid, pidfd = process.clone(child.flags, cgroup=unified)
    if pid == 0:
        child.run()
    return pid, pidfd


def _clone_joined(child: _Child, joins: Sequence[tuple[int, int]], unified: int) -> tuple[int, int]:
    """Clone through a joiner, which enters the namespaces, makes the process as our child, and ends."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        joiner, joiner_fd = process.clone(0, cgroup=unified)
        if joiner == 0:
            _join(child, joins, theirs)
        os.close(joiner_fd)
        theirs.close()
        kind, body, fds = wire.receive(ours)
        os.waitpid(joiner, 0)
    finally:
        ours.close()
        theirs.close()
    if kind == wire.SPAWNED and fds:
        pidfd = fds[0]
        return process.pidfd_pid(pidfd), pidfd
    if kind == wire.FAILED:
        number, _, step, text, path = wire.unpack_failure(body)
        raise StepError(f"{step}: {text}", path, number)
    raise StepError("the process that joins namespaces ended early")


def _join(child: _Child, joins: Sequence[tuple[int, int]], channel: _socket.socket) -> None:
    """In the joiner; never returns. The user namespace goes first if it is joined: it gives the right to the others."""
    step = "setns"
    try:
        process.prctl(_PR_SET_DUMPABLE, 0)
        for fd in child.tasks:
            os.write(fd, b"0")
        child.tasks = ()
        if child.oom_score_adj is not None:
            _write("/proc/self/oom_score_adj", b"%d" % child.oom_score_adj)
        for fd, kinds in sorted(joins, key=lambda join: not join[1] & process.CLONE_NEWUSER):
            process.setns(fd, kinds)
        step = "clone3"
        pid, pidfd = process.clone(process.CLONE_PARENT | child.flags)
        if pid == 0:
            channel.close()
            child.run()
        wire.send(channel, wire.SPAWNED, wire.pack_number(pid), [pidfd])
        os._exit(0)
    except OSError as error:
        wire.send(
            channel, wire.FAILED, wire.pack_failure(error.errno or 0, 0, step, error.strerror or "", "")
        )
    finally:
        os._exit(255)


def _finish_mapping(pid: int, pidfd: int, maps: tuple[Any, ...], mapped: tuple[int, int]) -> None:
    """Write the id maps of a new user namespace from outside and let the child go on, or end it."""
    try:
        _write_maps(pid, *maps)
    except BaseException:
        os.close(mapped[1])
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)
        raise
    os.write(mapped[1], b"1")


def _write_maps(
    pid: int,
    uid_map: str,
    gid_map: str,
    deny_setgroups: bool,  # noqa: FBT001 - a plain tuple from the wire
    helpers: tuple[str, str] | None,
) -> None:
    if deny_setgroups:
        _write(f"/proc/{pid}/setgroups", b"deny")
    if helpers is not None:
        for helper, text in zip(helpers, (uid_map, gid_map), strict=True):
            _run_helper(helper, [str(pid), *text.split()])
        return
    _write(f"/proc/{pid}/gid_map", gid_map.encode())
    _write(f"/proc/{pid}/uid_map", uid_map.encode())


def _write(path: str, value: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)


def _run_helper(helper: str, arguments: list[str]) -> None:
    """Newuidmap or newgidmap, by absolute path, with numbers only."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, writer, 2)]
        pid = os.posix_spawn(helper, [helper, *arguments], {}, file_actions=actions)
        os.close(writer)
        writer = -1
        said = os.read(reader, 4096)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    if status:
        text = said.decode("utf-8", "backslashreplace").strip()
        raise StepError(text or f"ended with status {os.waitstatus_to_exitcode(status)}", helper)
