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
import resource
import select

from ociworks._linux import process
from ociworks.runtime import _cgroupfs
from ociworks.runtime._init import execute, maps, sources, users, wire
from ociworks.runtime._init.context import Context, StepError
from ociworks.runtime._init.network import clone_inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Final, TypeAlias

    Enter: TypeAlias = Callable[[Mapping[str, Any], Sequence[int], int], tuple[int, int] | None]

__all__ = ["admit", "spawn"]

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_SIGKILL: Final = 9
_FIRST_FREE: Final = 3
_HIGH: Final = 256
_STREAMS: Final = 4
"""Sync and the three standard streams."""
_MAPS: Final = b"maps"
_OFFSETS: Final = b"offsets"


def spawn(
    request: Mapping[str, Any],
    fds: Sequence[int],
    last_capability: int,
    *,
    groups: int = -1,
    gate: int = -1,
    network: int = -1,
    enter: Enter | None = None,
) -> tuple[int, int]:
    """Make the process that ``request`` describes; returns ``(pid, pidfd)``.

    ``fds`` are the sync socket, the three standard streams, for an exec the container's pidfd, and what the program
    inherits from descriptor 3 on. ``gate`` is the
    socket at which an init waits to be started, ``groups`` the one over which it gets the files of its control groups
    (:func:`admit`); without that they are there already. ``network`` is a network namespace that was made ahead.
    ``enter`` makes what it can in another way (``entry.spawn``).
    Raises OSError or StepError when there is no process; what fails later comes over the sync channel.
    """
    if request["owner"] >= 0:
        users.give_pipes(fds[1:_STREAMS], request["owner"])
    if enter is not None and (made := enter(request, fds, last_capability)) is not None:
        return made
    tasks = [] if groups >= 0 else _cgroupfs.open_tasks(request["tasks"])
    joins: list[tuple[int, int]] = []
    mapped = os.pipe2(os.O_CLOEXEC) if request["maps"] else None
    unified = -1
    given: list[int] = []
    try:
        given = sources.open_all(request["sources"])
        unified = _cgroupfs.open_unified(request["unified"])
        joins += _open_namespaces(request["joins"])
        if request["join_kinds"]:
            joins.append((os.dup(fds[4]), request["join_kinds"]))
        child = _Child(request, fds, tasks, last_capability, mapped)
        child.groups, child.gate, child.given = groups, gate, given
        if joins or child.time_offsets:
            return _clone_joined(child, joins, unified, request["maps"])
        pid, pidfd = _clone(child, unified, network)
        if mapped is not None:
            maps.finish_mapping(pid, pidfd, request["maps"], mapped)
        return pid, pidfd
    finally:
        sources.close_all(given)
        for fd in (*tasks, unified, *(fd for fd, _ in joins), *(mapped or ())):
            _close(fd)


def admit(channel: _socket.socket, tasks: Sequence[str], expected: str = "") -> None:
    """Give an init the files through which it enters its control groups; one that has failed needs none.

    ``expected`` is what its ``/proc/self/cgroup`` must be then, for one that does not know it.
    """
    opened = _cgroupfs.open_tasks(tasks)
    try:
        wire.send(channel, wire.CONTINUE, expected.encode(), opened)
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
            opened.append((maps.open_namespace(path, kind), kind))
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
        self.time_offsets: str = request["time_offsets"]
        self.flags = request["flags"] & ~(process.CLONE_NEWTIME if self.time_offsets else 0)
        self.fds = fds
        self.tasks = tasks
        self.last_capability = last_capability
        self.mapped = mapped
        self.groups = self.gate = -1
        self.parent = -1
        """A pidfd of it: one that ends before we ask for a signal at its death sends none."""
        self.given: Sequence[int] = ()
        self.in_joined_users = any(kind & process.CLONE_NEWUSER for kind, _ in request["joins"])
        self.passed = fds[len(fds) - request["passed"] :]
        self.affinity = request["affinity"]
        self.oom_score_adj = request["oom_score_adj"]
        self.joins_container = bool(request["join_kinds"] & process.CLONE_NEWNS)
        self.joins_mounts = any(kind & process.CLONE_NEWNS for kind, _ in request["joins"])
        self.told: tuple[int, int] | None = None

    def run(self) -> None:
        """Never returns."""
        try:
            process.prctl(_PR_SET_PDEATHSIG, _SIGKILL)
            if self.parent >= 0 and _has_ended(self.parent):
                os._exit(255)
            for fd in self.tasks:
                os.write(fd, b"0")
            if self.mapped is not None:
                _wait_mapped(*self.mapped)
            if self.mapped is not None or self.in_joined_users:
                self.score()
                maps.become_root()
            os.umask(0)
            execute.execute(self._context(), self.operations)
        finally:
            os._exit(255)

    def score(self, *, must: bool = False) -> None:
        """What the root of a user namespace may not set. A first process has an operation that tells of a failure."""
        if self.oom_score_adj is None:
            return
        try:
            maps.write_file("/proc/self/oom_score_adj", b"%d" % self.oom_score_adj)
        except OSError:
            if must:
                raise

    def _context(self) -> Context:
        """Leave only the standard streams, what is passed, sync, and what comes by number open."""
        extra = [fd for fd in (self.groups, self.gate) if fd >= 0]
        given = [fd for fd in self.given if fd >= 0]
        keep = [self.fds[1], self.fds[2], self.fds[3], *self.passed, self.fds[0], *extra, *given]
        first = _FIRST_FREE + len(self.passed)
        host_pid = 0 if self.joins_container else self._host_pid()
        moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH) for fd in keep]
        for place, fd in enumerate(moved):
            os.dup2(fd, place, inheritable=place < first)
        os.closerange(len(moved), _above_all())
        first_given = len(moved) - len(given)
        sync, *sockets = (_socket.socket(fileno=fd) for fd in range(first, first_given))
        gate = sockets.pop() if self.gate >= 0 else None
        groups = sockets.pop() if self.groups >= 0 else None
        context = Context(sync, groups, gate, self.last_capability, host_pid)
        context.passed = len(self.passed)
        numbers = iter(range(first_given, len(moved)))
        context.given = [next(numbers) if fd >= 0 else -1 for fd in self.given]
        return context

    def _host_pid(self) -> int:
        """By whoever cloned us where ``/proc`` may be somebody else's."""
        if self.told is None:
            return int(os.readlink("/proc/self"))  # trusted: the kernel's
        os.close(self.told[1])
        return int(os.read(self.told[0], 16))  # trusted: the joiner's


def _wait_mapped(reader: int, writer: int) -> None:
    os.close(writer)
    if os.read(reader, 1) != b"1":
        os._exit(255)


def _clone(child: _Child, unified: int, network: int) -> tuple[int, int]:
    child.parent = os.pidfd_open(os.getpid())
    try:
        if network >= 0:
            pid, pidfd = clone_inside(network, child.flags, unified)
        else:
            pid, pidfd = process.clone(child.flags, cgroup=unified)
        if pid == 0:
            child.run()
    finally:
        os.close(child.parent)
    return pid, pidfd


def _has_ended(pidfd: int) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(0))


def _clone_joined(
    child: _Child, joins: Sequence[tuple[int, int]], unified: int, id_maps: tuple[Any, ...] | None
) -> tuple[int, int]:
    """Clone through a joiner, which enters the namespaces, makes the process as our child, and ends."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        late = unified >= 0 and bool(child.affinity)
        joiner, joiner_fd = process.clone(0, cgroup=-1 if late else unified)
        if joiner == 0:
            ours.close()
            _join(child, joins, theirs, unified if late else -1)
        os.close(joiner_fd)
        theirs.close()
        try:
            kind, body, fds = _serve_joiner(ours, joiner, id_maps, child.time_offsets)
        finally:
            ours.close()  # one that still waits for us ends now
            os.waitpid(joiner, 0)
    finally:
        ours.close()
        theirs.close()
    if kind == wire.SPAWNED and fds:
        pid, pidfd = wire.unpack_number(body), fds[0]
        if child.mapped is not None and not child.time_offsets:
            maps.finish_mapping(pid, pidfd, id_maps or (), child.mapped)
        return pid, pidfd
    if kind == wire.FAILED:
        number, _, step, text, path = wire.unpack_failure(body)
        raise StepError(f"{step}: {text}", path, number)
    raise StepError("the process that joins namespaces ended early")


def _serve_joiner(
    ours: _socket.socket, joiner: int, id_maps: tuple[Any, ...] | None, time_offsets: str
) -> tuple[bytes, bytes, list[int]]:
    """Write what a joiner may not write itself, until it has made the process; its last message."""
    while True:
        kind, body, fds = wire.receive(ours)
        if kind != wire.POINT:
            return kind, body, fds
        if body == _MAPS:
            maps.write_maps(joiner, *(id_maps or ()))
        else:
            maps.write_file(f"/proc/{joiner}/timens_offsets", time_offsets.encode())
        wire.send(ours, wire.CONTINUE)


def _join(child: _Child, joins: Sequence[tuple[int, int]], channel: _socket.socket, unified: int) -> None:
    """In the joiner; never returns.

    ``unified`` is the control group to enter here, after the CPU affinity was set that belongs before it.
    """
    step = "setns"
    try:
        process.prctl(_PR_SET_PDEATHSIG, _SIGKILL)
        process.prctl(_PR_SET_DUMPABLE, 0)
        if child.affinity:
            step = "cpu_affinity"
            os.sched_setaffinity(0, child.affinity)
            step = "setns"
        if unified >= 0:
            _enter(unified)
        for fd in child.tasks:
            os.write(fd, b"0")
        child.tasks = ()
        child.score(must=child.joins_container)
        _close_others(child, joins, channel)
        child.told = os.pipe2(os.O_CLOEXEC) if child.joins_mounts else None
        for fd, kinds in _with_our_rights(joins):
            process.setns(fd, kinds)
            os.close(fd)
        if child.time_offsets:
            step = "time namespace"
            _make_time_namespace(child, channel)
        step = "clone3"
        pid, pidfd = process.clone(process.CLONE_PARENT | child.flags)
        if pid == 0:
            channel.close()
            child.run()
        if child.told is not None:
            os.write(child.told[1], b"%d" % pid)
        wire.send(channel, wire.SPAWNED, wire.pack_number(pid), [pidfd])
        os._exit(0)
    except OSError as error:
        wire.send(
            channel, wire.FAILED, wire.pack_failure(error.errno or 0, 0, step, error.strerror or "", "")
        )
    finally:
        os._exit(255)


def _with_our_rights(joins: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Enter what our own rights allow, if a user namespace is among them; the others in order, that one first.

    It gives the right to its own namespaces, and takes that to those of others.
    """
    left = sorted(joins, key=lambda join: not join[1] & process.CLONE_NEWUSER)
    if not left or not left[0][1] & process.CLONE_NEWUSER:
        return left
    refused = left[:1]
    for fd, kinds in left[1:]:
        try:
            process.setns(fd, kinds)
        except PermissionError:
            refused.append((fd, kinds))
        else:
            os.close(fd)
    return refused


def _close_others(child: _Child, joins: Sequence[tuple[int, int]], channel: _socket.socket) -> None:
    """Close what is the launcher's: from the clone on, a privileged process inside can see and take what is open."""
    keep = {channel.fileno(), *child.fds[:_STREAMS], *child.passed, *child.given, child.groups, child.gate}
    keep |= {fd for fd, _ in joins}
    keep |= set(child.mapped or ())
    last = -1
    for fd in sorted(keep):
        if fd >= 0:
            os.closerange(last + 1, fd)
            last = fd
    os.closerange(last + 1, _above_all())


def _above_all() -> int:
    """Above every descriptor that may be open; not far above, for a kernel that refuses close_range(2)."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _enter(unified: int) -> None:
    fd = os.open("cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=unified)
    os.write(fd, b"0")
    os.close(fd)


def _make_time_namespace(child: _Child, channel: _socket.socket) -> None:
    """Clocks can be set only before the first process is in the namespace, and by the root of its user namespace.

    So a new user namespace is made here too, and the launcher writes the maps and the offsets from outside.
    """
    if child.flags & process.CLONE_NEWUSER:
        process.unshare(process.CLONE_NEWUSER)
        _ask(channel, _MAPS)
        child.flags &= ~process.CLONE_NEWUSER
        child.mapped, child.in_joined_users = None, True
    process.unshare(process.CLONE_NEWTIME)
    _ask(channel, _OFFSETS)
    process.prctl(_PR_SET_DUMPABLE, 0)


def _ask(channel: _socket.socket, what: bytes) -> None:
    """Let the launcher write one of our files in procfs, which belong to us only while we are dumpable."""
    process.prctl(_PR_SET_DUMPABLE, 1)
    wire.send(channel, wire.POINT, what)
    if wire.receive(channel)[0] != wire.CONTINUE:
        os._exit(255)
