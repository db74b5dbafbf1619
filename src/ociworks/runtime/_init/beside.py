"""Criu, as a single-threaded helper starts it: with mounts of its own, among them the root filesystem."""

from __future__ import annotations

import _signal
import fcntl
import os
import stat

from ociworks._linux import mount, path, process
from ociworks.runtime._cgroupkill import write
from ociworks.runtime._init import programs, rootfs, sources
from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Final

    from ociworks.runtime._init.rootfs import Layers

    Point = tuple[str, str, bool]
    """Below which directory ("" is the root filesystem), where, and whether it is a directory."""
    Root = tuple[
        str, str, Layers | None, Sequence[Point], bool, Sequence[str], int, Sequence[tuple[Any, ...]]
    ]
    """What a program has of its own. First of all it moves itself into control groups (the sixth, files
    ``cgroup.procs``) and makes namespaces (the seventh, their kinds). On the second, a directory, it then has the tree
    at the first, or an overlay of the third; nobody else sees that. Each point is made if it is missing. By the fifth
    the program, and so all that it makes, may gain no privileges. Trees with IDs of their own (the last; see
    ``sources``) are on the second, too, by their numbers: the root is beside them then, as :data:`INNER`."""

__all__ = ["INNER", "MARK", "NOT_STARTED", "start"]

INNER: Final = "root"
"""The name of the root's place among those of trees."""
MARK: Final = "OCIWORKS_RESTORE"
"""The variable by which criu, and what it makes until that is another program, can be told from others."""
NOT_STARTED: Final = 127
"""The status of one that could not be executed; why is on its standard error."""
_HIGH: Final = 512
_AT_FDCWD: Final = -100


def start(argv: Sequence[str], env: Mapping[str, str], fds: Sequence[int], root: Root) -> int:
    """Start a program with these descriptors as 0, 1, 2 and so on; its pid."""
    source, target, layers, points, confined, groups, namespaces, trees = root
    pid, pidfd = process.clone(process.CLONE_NEWNS)
    if pid:
        os.close(pidfd)
        return pid
    try:
        for procs in groups:
            write(procs, b"0")
        if namespaces:
            process.unshare(namespaces)
        mount.set_attributes(_AT_FDCWD, propagation=mount.MS_SLAVE, recursive=True, path="/")
        if trees:
            _mount_trees(target, trees)
            target = f"{target}/{INNER}"
        rootfs.mount_root(source, target, layers)
        _make_points(target, points)
        if confined:
            process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
        for number in programs.DEFAULT:
            _signal.signal(number, _signal.SIG_DFL)
        for fd, free in [(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH), at) for at, fd in enumerate(fds)]:
            os.dup2(fd, free)
        os.execve(argv[0], list(argv), env)
    except (OSError, StepError) as error:
        os.write(2, f"{argv[0]}: {error}\n".encode("utf-8", "backslashreplace"))
    finally:
        os._exit(NOT_STARTED)


def _mount_trees(target: str, trees: Sequence[tuple[Any, ...]]) -> None:
    """Mount each on a place of its own, by its number."""
    _attach(mount.make_filesystem("tmpfs", (("mode", "0711"),), 0), target)
    os.mkdir(f"{target}/{INNER}", 0o755)
    for number, tree in enumerate(sources.open_all(trees)):
        place = f"{target}/{number}"
        if stat.S_ISDIR(os.fstat(tree).st_mode):
            os.mkdir(place, 0o755)
        else:
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        _attach(tree, place)


def _attach(made: int, place: str) -> None:
    point = os.open(place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        mount.attach(made, point)
    finally:
        os.close(point)


def _make_points(target: str, points: Sequence[Point]) -> None:
    """Make what something is mounted on. Where that cannot be, the program says what it misses."""
    for below, point, is_directory in points:
        try:
            root = os.open(below or target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _make_point(root, point, is_directory=is_directory)
            finally:
                os.close(root)
        except OSError:
            continue


def _make_point(root: int, point: str, *, is_directory: bool) -> None:
    if is_directory:
        os.close(path.makedirs_in_root(root, point))
        return
    above, _, name = point.rpartition("/")
    directory = path.makedirs_in_root(root, above)
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=directory))
    finally:
        os.close(directory)
