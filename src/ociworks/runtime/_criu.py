"""Runs criu on a container: the reaper is its parent, so that it becomes the parent of what is restored."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ociworks.errors import CheckpointFailed, ContainerExists, NotSupported
from ociworks.runtime import cgroups, checkpoint
from ociworks.runtime.stdio import DEVNULL, Streams

if TYPE_CHECKING:
    from ociworks.runtime._host import Host
    from ociworks.runtime.checkpoint import CheckpointOptions, RestoreOptions
    from ociworks.runtime.launcher import Spawned
    from ociworks.runtime.plan import Plan
    from ociworks.runtime.state import Record
    from ociworks.spec.runtime import Spec

__all__ = ["dump", "restore"]

_FIRST_FD = 3


def dump(host: Host, record: Record, spec: Spec, options: CheckpointOptions) -> None:
    """Dump a container. Raises CheckpointFailed, NotSupported, MissingDependency."""
    extra = (options.status_fd,) if options.status_fd >= 0 else ()
    command = checkpoint.dump_command(
        options, spec, record.pid, _freezer(record.cgroups), _FIRST_FD if extra else -1
    )
    for directory in filter(None, (options.image_path, options.work_path)):
        os.makedirs(directory, mode=0o700, exist_ok=True)
    if not options.pre_dump:
        checkpoint.save_streams(options.image_path, record.pid)
    with contextlib.closing(Streams(DEVNULL, DEVNULL, DEVNULL)) as streams:
        running = host.reaper().start(command, (*streams.child, *extra))
    with contextlib.closing(running):
        if running.wait():
            raise _failed("checkpoint", record.id, options, checkpoint.DUMP_LOG)


def restore(host: Host, planned: Plan, options: RestoreOptions, streams: Streams) -> Spawned:
    """Restore a container as a child of the reaper; state directory and control groups are made.

    Raises as dump does, and ContainerExists.
    """
    if planned.cgroup.scope is not None:
        raise NotSupported("restore: not into a scope of systemd")
    directory = os.path.join(host.directory(), planned.container_id)
    root, pid_file = os.path.join(directory, "criu-root"), os.path.join(directory, "criu.pid")
    command, files = checkpoint.restore_command(
        options, planned.spec, planned.bundle, root=root, pid_file=pid_file, first_fd=_FIRST_FD
    )
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        raise ContainerExists(f"container {planned.container_id} exists already in {host.root}") from None
    try:
        os.mkdir(root, 0o755)
        if planned.cgroup.directories:
            cgroups.apply(planned.cgroup)
        with _opened(files) as fds:
            running = host.reaper().start(
                command, (*streams.child, *fds), pid_file, root=(planned.rootfs, root)
            )
        return _restored(host, planned, options, running)
    except BaseException:
        host.sweep(planned.container_id, planned.cgroup.directories, planned.cgroup.shared)
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(pid_file)
            os.rmdir(root)


def _restored(host: Host, planned: Plan, options: RestoreOptions, running: Spawned) -> Spawned:
    try:
        if running.wait():
            raise _failed("restore", planned.container_id, options, checkpoint.RESTORE_LOG)
        left = host.reaper().left_behind(running)
    except BaseException:
        running.close()
        raise
    os.close(running.pidfd)  # its channel is now that of the container
    try:
        with open(f"/proc/{left.pid}/cgroup", encoding="utf-8") as stream:
            cgroups.verify_membership(planned.cgroup.membership, stream.read())
    except BaseException:
        left.end()
        raise
    return left


def _failed(verb: str, name: str, options: CheckpointOptions | RestoreOptions, log: str) -> CheckpointFailed:
    directory = options.work_path or options.image_path
    path = os.path.join(directory, log)
    return CheckpointFailed(
        f"{verb} of container {name}: {checkpoint.reason(directory, log)}; see {path}", log=path
    )


def _freezer(groups: Sequence[str]) -> str:
    """The group by which criu stops the container: that of the version 1 freezer, or the unified one."""
    for name in ("freezer.state", "cgroup.freeze"):
        for group in groups:
            if os.path.exists(f"{group}/{name}"):
                return group
    return ""


@contextlib.contextmanager
def _opened(paths: Sequence[str]) -> Iterator[tuple[int, ...]]:
    """Files, open while the block lasts."""
    with contextlib.ExitStack() as stack:
        fds = tuple(os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths)
        for fd in fds:
            stack.callback(os.close, fd)
        yield fds
