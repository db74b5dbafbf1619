"""Runs criu on a container: the reaper is its parent, so that it becomes the parent of what is restored."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, cast

from ociworks._linux.numbers import CLONE_NEWCGROUP
from ociworks.errors import (
    CheckpointFailed,
    ContainerExists,
    ContainerTimeout,
    LauncherError,
    NotSupported,
    quote,
)
from ociworks.runtime import _cgroupkill, _ending, cgroups
from ociworks.runtime._criu import requests, rpc, streams
from ociworks.runtime._criu.mapped import mapped
from ociworks.runtime._criu.shared import Shared
from ociworks.runtime._init.beside import INNER
from ociworks.runtime._making import record_of
from ociworks.runtime.console import Console
from ociworks.runtime.shim.restored import PID, ROOT
from ociworks.runtime.stdio import DEVNULL, Streams
from ociworks.spec import to_json

if TYPE_CHECKING:
    from ociworks.runtime._host import Host
    from ociworks.runtime.checkpoint import CheckpointOptions, RestoreOptions
    from ociworks.runtime.launcher import Spawned
    from ociworks.runtime.plan import Plan
    from ociworks.runtime.plan.ops import Hierarchy
    from ociworks.runtime.state import Record
    from ociworks.spec.runtime import Spec

__all__ = ["CHANNEL", "Making", "dump", "reason", "restore", "timely"]

CHANNEL: Final = 3
"""The descriptor at which criu is spoken to."""
_MAX_LOG: Final = 16 << 20
_EARLIER: Final = "parent"
"""The link to the images of an earlier pre-dump, among the later ones."""
_MOST_EARLIER: Final = 100
_GIVES_UP: Final = 5.0
"""Seconds for a criu that nobody waits for any more to put things in order before it is killed."""


def dump(host: Host, record: Record, spec: Spec, options: CheckpointOptions) -> None:
    """Dump a container. Raises CheckpointFailed, NotSupported, MissingDependency, ContainerTimeout."""
    request = requests.dump_request(options, spec, record.pid, _freezer(record.cgroups))
    command = _command(options)
    for directory in filter(None, (options.image_path, options.work_path)):
        os.makedirs(directory, mode=0o700, exist_ok=True)
    _forget_log(options, requests.DUMP_LOG)
    if not options.pre_dump:
        streams.save(options.image_path, record.pid)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, _images(options) as images:
        with theirs, contextlib.closing(Streams(DEVNULL, DEVNULL, DEVNULL)) as none:
            running = host.reaper().start(command, (*none.child, theirs.fileno()))
        kind = rpc.PRE_DUMP if options.pre_dump else rpc.DUMP
        with (
            contextlib.closing(running),
            _ended(running, ours, record.cgroups),
            timely("checkpoint", record.id, options) as until,
        ):
            response = rpc.ask(ours, kind, request | images, _unexpected, until)
            _wait(running, until)
    if not response.success:
        raise _failed("checkpoint", record.id, options, requests.DUMP_LOG)


def restore(
    host: Host, planned: Plan, options: RestoreOptions, given: Streams, *, detach: bool
) -> tuple[Spawned, Console | None]:
    """Restore a container as a child of the reaper; state directory, scope and control groups are made.

    Gives its first process, and the master of its terminal if it has one. Raises as dump does, and ContainerExists.
    """
    directory = os.path.join(host.directory(), planned.container_id)
    making = Making(planned, options, directory)
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        raise ContainerExists(f"container {planned.container_id} exists already in {host.root}") from None
    try:
        host.save(record_of(planned, 0), to_json(planned.spec))  # from now on it can be found, and removed
        host.hold(planned)
        if planned.cgroup.directories:
            cgroups.apply(planned.cgroup)
        with making.files() as files, _place(making):
            spawned = _restored(host, making, (*given.child, *files), outlives=detach)
        host.let_go(planned.container_id)
    except BaseException:
        if making.console is not None:
            making.console.close()
        host.sweep(planned.container_id, planned.cgroup.directories, planned.cgroup.shared)
        host.leave(planned)
        raise
    return spawned, making.console


class Making:
    """What is restored, and what is learnt about it meanwhile; ``directory`` is its state directory."""

    def __init__(self, planned: Plan, options: RestoreOptions, directory: str) -> None:
        self.id, self.options, self.directory = planned.container_id, options, directory
        self.place = os.path.join(directory, ROOT)
        points = tuple(requests.mount_points(planned.spec, planned.bundle))
        process = planned.spec.process
        confined = process is not None and bool(process.no_new_privileges)  # criu before 3.19 forgets that
        trees = mapped(planned)
        self.root = (
            planned.rootfs,
            self.place,
            _layers(planned),
            points,
            confined,
            *_groups(planned, options),
            tuple(each.tree for each in trees.values()),
        )
        self.pid_file = os.path.join(directory, PID)
        groups = planned.cgroup
        self.remains = (directory, groups.directories, _ending.removable(groups.directories, groups.shared))
        self.request, self._joined = requests.restore_request(
            options,
            planned.spec,
            planned.bundle,
            place=requests.Place(
                root=f"{self.place}/{INNER}" if trees else self.place,
                groups=planned.cgroup.membership,
                bound=tuple(_bound(planned)),
                first_fd=CHANNEL + 1,
                mapped={
                    at: os.path.normpath(f"{self.place}/{number}/{each.within}")
                    for number, (at, each) in enumerate(trees.items())
                },
            ),
        )
        self.command = _command(options)
        _forget_log(options, requests.RESTORE_LOG)
        self.console: Console | None = None
        self._group = requests.own_group(planned.spec)
        self._planned = planned
        self._pid = 0
        self._shared = Shared(())
        if options.paused and not planned.cgroup.unified:
            raise NotSupported("paused: a container is restored like that in a unified hierarchy only")
        if options.manage_cgroups_mode == "ignore" and (options.paused or options.untrusted):
            raise NotSupported(
                "manage_cgroups_mode: ignore has criu in the groups that are frozen or looked at"
            )

    @contextlib.contextmanager
    def files(self) -> Iterator[tuple[int, ...]]:
        """The namespaces that are joined, open while the block lasts."""
        with contextlib.ExitStack() as stack:
            fds = tuple(os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in self._joined)
            for fd in fds:
                stack.callback(os.close, fd)
            yield fds

    def ask(self, channel: socket.socket, until: float | None) -> rpc.Response:
        """Have the criu at the other end of a channel restore it. TimeoutError as :func:`rpc.ask`."""
        self._shared = Shared(requests.joined_again(self._planned.spec))
        try:
            with _images(self.options, self._group) as images:
                response = rpc.ask(channel, rpc.RESTORE, self.request | images, self.notified, until)
        finally:
            self._shared.set_back()
        if self.options.paused and response.success:
            cgroups.freeze(self._planned.cgroup.directories)
        return response

    def notified(self, said: rpc.Notified) -> None:
        """Take the terminal, and before anything runs prove where it is. Raises CgroupError, and criu gives up.

        Raises CheckpointFailed for images that go too far, and everything is ended.
        """
        if said.script == "orphan-pts-master" and said.fd >= 0 and self.console is None:
            self.console = Console(said.fd)
        elif said.fd >= 0:
            os.close(said.fd)
        if said.pid and not self._pid:
            with open(self.pid_file, "x", encoding="ascii") as stream:
                stream.write(str(said.pid))
            self._pid = said.pid
        if said.script == "post-restore":
            with open(f"/proc/{said.pid}/cgroup", encoding="utf-8") as stream:
                cgroups.verify_membership(self._planned.cgroup.membership, stream.read())
        if said.script == "pre-resume":
            self._before_it_runs(self._pid)

    def _before_it_runs(self, pid: int) -> None:
        """All is made, and stands still: criu goes on whatever we answer, but the dead do not."""
        self._shared.set_back()
        if self.options.paused:
            _cgroupkill.write(f"{self._planned.cgroup.unified}/cgroup.freeze", b"1")
        if self.options.untrusted:
            from ociworks.runtime._criu.within import check

            try:
                others = cgroups.processes(self._planned.cgroup.directories)
                check(pid, others, self._planned.spec, self._planned.bundle)
            except BaseException:
                _end_all(pid, self._planned.cgroup.directories)
                raise

    def failed(self) -> CheckpointFailed:
        """The error for a criu that did not succeed."""
        return _failed("restore", self.id, self.options, requests.RESTORE_LOG)


def _end_all(pid: int, groups: Sequence[str]) -> None:
    """Kill what stands still: criu, whom we keep waiting, is still its tracer, so nobody waits for the end here."""
    os.kill(pid, signal.SIGKILL)  # restored, and held by criu: it is nobody else's number
    for each in cgroups.processes(groups):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


@contextlib.contextmanager
def _place(making: Making) -> Iterator[None]:
    """Where criu has the root filesystem, and where its pid is written down, while the block lasts."""
    os.mkdir(making.place, 0o755)
    try:
        yield
    finally:
        os.rmdir(making.place)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(making.pid_file)


def _bound(planned: Plan) -> Iterator[tuple[str, str]]:
    """The control groups of the host's that are bound into the container: where, and which."""
    if planned.namespaces.private & CLONE_NEWCGROUP:
        return
    for op in planned.operations:
        if op.name == "cgroup_tree":
            target, layout = cast("str", op.args[0]), cast("tuple[Hierarchy, ...]", op.args[1])
            yield from ((f"{target}/{name}", host) for name, _, _, host, _ in layout if name)


def _groups(planned: Plan, options: RestoreOptions) -> tuple[tuple[str, ...], int]:
    """The control groups, and the kinds of namespaces, that criu itself begins in.

    One that shall ignore control groups makes everything where it is itself, and no namespace for that.
    """
    if options.manage_cgroups_mode != "ignore":
        return (), 0
    return tuple(planned.cgroup.procs), planned.namespaces.new & CLONE_NEWCGROUP


def _layers(planned: Plan) -> object:
    """The overlay that is the root filesystem, in its plain form; None without one."""
    return next((op.args[3] for op in planned.operations if op.name == "pin_root"), None)


def _restored(host: Host, making: Making, fds: Sequence[int], *, outlives: bool) -> Spawned:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            given = (*fds[:CHANNEL], theirs.fileno(), *fds[CHANNEL:])
            running = host.reaper().start(
                making.command,
                given,
                making.pid_file,
                root=making.root,
                outlives=outlives,
                name=making.id,
                remains=making.remains,
            )
            host.restored.add(making.id)
        try:
            with _ended(running, ours), timely("restore", making.id, making.options) as until:
                response = making.ask(ours, until)
                ours.close()
                status = _wait(running, until)
            if status or not response.success:
                raise making.failed()
            left = host.reaper().left_behind(running)
        except BaseException:
            with contextlib.closing(running):
                _end_left_behind(host, running)
            raise
    os.close(running.pidfd)  # its channel is now that of the container
    return left


def _end_left_behind(host: Host, running: Spawned) -> None:
    """It was done after all, but nobody wants it any more."""
    with contextlib.suppress(LauncherError):
        if running.wait(0) == 0:
            left = host.reaper().left_behind(running)
            left.kill()
            os.close(left.pidfd)


@contextlib.contextmanager
def timely(
    verb: str, container_id: str, options: CheckpointOptions | RestoreOptions
) -> Iterator[float | None]:
    """Until when criu may take. TimeoutError is ContainerTimeout."""
    try:
        yield None if options.timeout is None else time.monotonic() + options.timeout
    except TimeoutError as error:
        if options.timeout is None:
            raise
        why = f"{verb} of container {container_id}: criu did not end within {options.timeout:g} seconds"
        raise ContainerTimeout(why, timeout=options.timeout) from error


@contextlib.contextmanager
def _ended(running: Spawned, channel: socket.socket, groups: Sequence[str] = ()) -> Iterator[None]:
    """When the block fails, criu has ended: it gives up when nobody speaks with it, or is killed.

    What one that restores had made by then the reaper ends; in a container that it stopped (``groups``) all goes on.
    """
    stopped = bool(groups) and _cgroupkill.frozen(groups)
    try:
        yield
    except BaseException:
        channel.close()
        with contextlib.suppress(LauncherError):
            try:
                running.wait(_GIVES_UP)
            finally:
                running.kill()
                running.wait()
        if groups and not stopped:
            _cgroupkill.thaw_all(groups)
        raise


def _wait(running: Spawned, until: float | None) -> int:
    """The status of a criu that has answered. Raises TimeoutError."""
    status = running.wait(None if until is None else max(0.0, until - time.monotonic()))
    if status is None:
        raise TimeoutError
    return status


def _command(options: CheckpointOptions | RestoreOptions) -> tuple[str, ...]:
    """Criu as a server of one request. It works in a directory of its own mount namespace, not in one of ours."""
    work = os.path.abspath(options.work_path or options.image_path)
    return (requests.criu(), "swrk", str(CHANNEL), "--work-dir", work, "--no-default-config")


@contextlib.contextmanager
def _images(
    options: CheckpointOptions | RestoreOptions, group: int | None = None
) -> Iterator[dict[str, rpc.Value]]:
    """Where the images are, for criu, which finds the descriptors of whoever made its channel.

    Meanwhile ``group`` may open them: in a user namespace criu reads them as root of that.
    """
    with contextlib.ExitStack() as stack:
        fd = _directory(options.image_path, stack)
        if group is not None:
            stack.enter_context(_let_in(fd, group, stat.S_IXGRP))
            trusted = not getattr(options, "untrusted", False)  # whose link leads wherever it likes
            for each, rights in _way_to_earlier(fd, stack) if trusted else ():
                stack.enter_context(_let_in(each, group, rights))
        yield {"images_dir_fd": fd}


def _way_to_earlier(images: int, stack: contextlib.ExitStack) -> Iterator[tuple[int, int]]:
    """The directories from images to the earlier ones that they build on, and the rights that criu needs there.

    It finds them by a link, and opens what that leads to.
    """
    for _ in range(_MOST_EARLIER):
        try:
            target = os.readlink(_EARLIER, dir_fd=images)
        except OSError:
            return
        for name in filter(None, target.split("/")):
            images = _directory(name, stack, images)
            yield images, stat.S_IXGRP
        yield images, stat.S_IXGRP | stat.S_IRGRP


def _directory(path: str, stack: contextlib.ExitStack, at: int | None = None) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at)
    stack.callback(os.close, fd)
    return fd


@contextlib.contextmanager
def _let_in(directory: int, group: int, rights: int) -> Iterator[None]:
    """A group has these rights to a directory while the block lasts, where not everybody has them."""
    before = os.fstat(directory)
    if before.st_mode & (rights >> 3) == rights >> 3:
        yield
        return
    try:
        os.fchown(directory, -1, group)
        os.fchmod(directory, stat.S_IMODE(before.st_mode) | rights)
        yield
    finally:
        os.fchown(directory, -1, before.st_gid)
        os.fchmod(directory, stat.S_IMODE(before.st_mode))


def _forget_log(options: CheckpointOptions | RestoreOptions, name: str) -> None:
    """What an earlier criu said is not why this one fails."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(options.work_path or options.image_path, name))


def _unexpected(said: rpc.Notified) -> None:
    """Nothing is reported by a dump that was not asked to."""
    if said.fd >= 0:
        os.close(said.fd)


def reason(directory: str, name: str) -> str:
    """The last errors in criu's log, for a message."""
    try:
        with open(os.path.join(directory, name), "rb") as stream:
            lines = stream.read(_MAX_LOG).decode("utf-8", "backslashreplace").splitlines()
    except OSError as error:
        return f"no log: {error}"
    found = [line[line.index("Error") :] for line in lines if "Error (" in line]
    return quote("; ".join(found[-3:]) or "no error in its log", 1000)


def _failed(verb: str, name: str, options: CheckpointOptions | RestoreOptions, log: str) -> CheckpointFailed:
    directory = options.work_path or options.image_path
    path = os.path.join(directory, log)
    return CheckpointFailed(f"{verb} of container {name}: {reason(directory, log)}; see {path}", log=path)


def _freezer(groups: Sequence[str]) -> str:
    """The group by which criu stops the container: that of the version 1 freezer, or the unified one."""
    for name in ("freezer.state", "cgroup.freeze"):
        for group in groups:
            if os.path.exists(f"{group}/{name}"):
                return group
    return ""
