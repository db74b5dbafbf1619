"""Making, filling and removing control groups: the loops that the launcher runs, from plain data.

The launcher imports this beside nothing heavier than ``os``; what to do was decided by
:mod:`ociworks.runtime.cgroups` and arrives as :data:`Plain`, a tuple that ``marshal`` can carry. Order of work::

    mounts      each still has the device number that was detected        (nothing was mounted over it)
    parents     made where missing; shared ones may exist and may vanish under us, then they are made again
    directories the leaves, one per hierarchy; one that is there already must be empty, and stays when we go
    inherit     cpuset files of new groups are filled from the group above (v1 leaves them empty)
    settings    every limit that was asked for; a failure undoes everything and is raised
    attempts    what only feeds statistics; a kernel without it is no error
    program     the v2 device filter: loaded, attached, and read back

A leaf that somebody else made bears an extended attribute of ours meanwhile: whoever removes the container must leave
it (runtime-spec runtime.md, Delete).

Errors are OSErrors that name the file; the caller turns them into ``CgroupError``.
"""

from __future__ import annotations

import errno
import os

from ociworks.runtime._cgroupkill import frozen, kill, move, pause, processes, read_text, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeAlias

    Plain: TypeAlias = tuple[
        tuple[tuple[str, int], ...],  # mounts: (path, st_dev)
        tuple[str, ...],  # parents, from the top
        tuple[str, ...],  # of these, the ones that are removed whenever they are empty
        tuple[str, ...],  # directories: the leaves
        tuple[tuple[str, str], ...],  # inherit: (from, to)
        tuple[tuple[tuple[str, bytes], ...], ...],  # settings: the first way whose file exists is taken
        tuple[tuple[str, bytes], ...],  # attempts
        str,  # the leaf in the unified hierarchy, or ""
        bytes,  # the device program, or b""
        bool,  # whether the leaves may exist already, because systemd made them
        tuple[str, ...],  # what of the unified leaf is given to the container's user
        int,  # that user
    ]

__all__ = [
    "Making",
    "apply_setting",
    "chosen",
    "create",
    "identities",
    "join",
    "kill",
    "misplaced",
    "open_tasks",
    "open_unified",
    "owned",
    "placed",
    "processes",
    "remove",
]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RETRIES = 64
_IN_USE = (errno.EBUSY, errno.ENOTEMPTY)
_MARKS = ("trusted.ociworks.found", "user.ociworks.found")
"""The second is for those who may not set the first."""
_ABSENT = (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP)


class Making:
    """The groups of one plan in the making: first the one that a process is cloned into, then, beside it, the rest.

    Whatever happens, ``made`` is what :func:`remove` needs, in its order. Entries that end in ``/`` are parents: they
    go only when nothing else is in them.
    """

    def __init__(self, plain: Plain, attach: Callable[[int, bytes], None]) -> None:
        """``attach`` is that of ``_cgroupbpf``: whoever only looks or removes does not load it."""
        self._plain = plain
        self._attach = attach
        self._leaves: list[str] = []
        self._above = [path + "/" for path in reversed(plain[2])]

    @property
    def made(self) -> list[str]:
        """The groups that exist because of us."""
        return self._leaves + self._above

    def first(self) -> None:
        """Make the group of the unified hierarchy, if there is one."""
        unified = self._plain[7]
        if unified:
            _check_mounts([mount for mount in self._plain[0] if unified.startswith(mount[0] + "/")])
            self._make(unified)

    def rest(self) -> None:
        """Make the other groups and apply every limit."""
        mounts, _, _, directories, inherit, settings, attempts, unified, program, _, given, owner = (
            self._plain
        )
        _check_mounts(mounts)
        for directory in directories:
            if directory != unified:
                self._make(directory)
        for source, target in inherit:
            _inherit(source, target)
        _apply(settings)
        for path, value in attempts:
            _attempt(path, value)
        if program:
            self._filter_devices(unified, program)
        for path in given:
            _give(path, owner)

    def left_to_systemd(self, timeout: float = 1.0) -> None:
        """Wait until systemd has removed the group that it made, if there is one and it is empty.

        Were it removed by us first, systemd might never hear that it is empty, and keep the unit: the kernel says so a
        moment later, of a group that is still there.
        """
        unified = self._plain[7] if self._plain[9] else ""
        if not unified or processes([unified]):
            return
        delay = 0.001
        while timeout > 0 and os.path.lexists(unified):
            pause(delay)
            timeout -= delay
            delay = min(delay * 2, 0.05)

    def _make(self, directory: str) -> None:
        above = _make(directory, self._plain[1], adopt=self._plain[9])
        self._above = [path for path in above if path not in self._above] + self._above
        self._leaves.append(directory)

    def _filter_devices(self, directory: str, program: bytes) -> None:
        descriptor = os.open(directory, _DIRECTORY)
        try:
            self._attach(descriptor, program)
        except OSError as error:
            raise OSError(error.errno, f"device filter: {error.strerror}", directory) from None
        finally:
            os.close(descriptor)


def create(plain: Plain, attach: Callable[[int, bytes], None]) -> list[str]:
    """Make the groups and apply every limit; return what :func:`remove` needs. On failure nothing is left."""
    making = Making(plain, attach)
    try:
        making.first()
        making.rest()
    except BaseException:
        remove(making.made)
        raise
    return making.made


def join(procs: Sequence[str], pid: int) -> None:
    """Move ``pid``, as our PID namespace sees it, into the groups with these ``cgroup.procs`` files."""
    for path in procs:
        write(path, b"%d" % pid)


def open_tasks(tasks: Sequence[str]) -> list[int]:
    """Open ``tasks`` or ``cgroup.procs`` files for writing, close-on-exec; a process that writes ``0`` moves itself."""
    opened: list[int] = []
    try:
        for path in tasks:
            opened.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW))  # noqa: PERF401
    except BaseException:
        for descriptor in opened:
            os.close(descriptor)
        raise
    return opened


def open_unified(directory: str) -> int:
    """A descriptor of the leaf in the unified hierarchy, for CLONE_INTO_CGROUP; -1 when there is none."""
    return os.open(directory, os.O_PATH | _DIRECTORY) if directory else -1


def misplaced(membership: Iterable[tuple[str, str]], proc_cgroup: str) -> tuple[str, str, str] | None:
    """The first controller of ``membership`` whose path is another in a ``/proc/PID/cgroup``: it, expected, found.

    A name without a slash stands for every path that ends in it: what a namespace that was joined makes of it.
    """
    found: dict[str, str] = {}
    for line in proc_cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), path))
    return next(
        (
            (controller, path, found.get(controller, ""))
            for controller, path in membership
            if not _is_at(path, found.get(controller, ""))
        ),
        None,
    )


def placed(membership: Iterable[tuple[str, str]], proc_cgroup: str) -> str:
    """A ``/proc/PID/cgroup`` with the paths of ``membership``."""
    paths = dict(membership)
    lines = []
    for line in proc_cgroup.splitlines(keepends=True):
        number, controllers, path = line.split(":", 2)
        found = next((paths[name] + "\n" for name in controllers.split(",") if name in paths), path)
        lines.append(f"{number}:{controllers}:{found}")
    return "".join(lines)


def _is_at(expected: str, found: str) -> bool:
    return found == expected if "/" in expected else found.rpartition("/")[2] == expected


def remove(made: Sequence[str], timeout: float = 2.0) -> list[str]:
    """Remove groups and all below them; parents (``…/``) only when empty. Return the leaves that are still in use.

    What is already gone is fine. A busy leaf (a process that is just ending) is tried again until ``timeout``.
    """
    left = [path for path in made if not path.endswith("/")]
    delay = 0.001
    while left and (left := [path for path in left if not _remove_tree(path)]):
        if timeout <= 0:
            break
        pause(delay)
        timeout -= delay
        delay = min(delay * 2, 0.05)
    for path in made:
        if path.endswith("/"):
            _remove_if_empty(path)
    return left


def _check_mounts(mounts: Sequence[tuple[str, int]]) -> None:
    for path, device in mounts:
        if os.stat(path).st_dev != device:
            raise OSError(errno.ESTALE, "another filesystem is mounted over the control groups", path)


def _make(directory: str, parents: Sequence[str], *, adopt: bool) -> list[str]:
    """Make one leaf, and the parents above it that are missing; return those, deepest first, marked.

    ``adopt``: the leaf may be there, and is ours.
    """
    above = [path for path in parents if directory.startswith(path + "/")]
    made: list[str] = []
    for attempt in range(_RETRIES):
        try:
            for path in above if attempt else ():  # mostly they are there
                try:
                    os.mkdir(path, 0o755)
                except FileExistsError:
                    continue
                made.insert(0, path + "/")
            try:
                os.mkdir(directory, 0o755)
            except FileExistsError:
                if not adopt:
                    _take_over(directory)
        except OSError as error:
            # Another container's removal may take an empty shared parent away between our two steps.
            if error.errno not in (errno.ENOENT, errno.ENODEV) or attempt == _RETRIES - 1:
                for path in made:
                    _remove_if_empty(path)
                raise
        else:
            break
    return list(dict.fromkeys(made))


def _take_over(directory: str) -> None:
    """Use a group that somebody made for the container. Processes in it would share its limits, and its end."""
    if processes([directory]):
        raise OSError(
            errno.EBUSY, "the container's cgroup is not empty: there are processes in it", directory
        )
    if frozen([directory]):
        raise OSError(
            errno.EBUSY,
            "the container's cgroup unexpectedly frozen: resume it, or remove it",
            directory,
        )
    try:
        os.setxattr(directory, _MARKS[0], b"", os.XATTR_CREATE, follow_symlinks=False)
    except PermissionError:
        os.setxattr(directory, _MARKS[1], b"", os.XATTR_CREATE, follow_symlinks=False)


def _leave(path: str, mark: str) -> bool:
    """Empty a group that somebody else made, and leave it; False when processes are in it."""
    if processes([path]):
        return False
    _remove_below(path)
    os.removexattr(path, mark, follow_symlinks=False)
    return True


def _inherit(source: str, target: str) -> None:
    if not read_text(target).strip():
        write(target, read_text(source).strip().encode("ascii"))


def _apply(settings: Sequence[Sequence[tuple[str, bytes]]]) -> None:
    """Make the settings in order; what follows on the same file (a list of devices) goes through one descriptor."""
    following: list[bytes] = []
    for position, ways in enumerate(settings):
        if len(ways) != 1:
            apply_setting(ways)
            continue
        path, value = ways[0]
        following.append(value)
        after = settings[position + 1] if position + 1 < len(settings) else ()
        if len(after) != 1 or after[0][0] != path:
            write(path, *following)
            following.clear()


def apply_setting(ways: Sequence[tuple[str, bytes]]) -> None:
    """Make one setting in the first way whose file exists; the last way's error when none does."""
    path, value = chosen(ways)
    if path:
        write(path, value)


def chosen(ways: Sequence[tuple[str, bytes]]) -> tuple[str, bytes]:
    """The way whose file exists; an empty file name when the setting is one that older kernels do without."""
    return next((way for way in ways[:-1] if os.path.exists(way[0])), ways[-1])


def _attempt(path: str, value: bytes) -> None:
    try:
        write(path, value)
    except OSError as error:
        if error.errno not in _ABSENT and not path.endswith("/cgroup.subtree_control"):
            raise


def _give(path: str, owner: int) -> None:
    """Let ``owner`` write a file, or make groups in a directory; older kernels do not have every file."""
    try:
        os.chown(path, owner, -1, follow_symlinks=False)
    except FileNotFoundError:
        return


def identities(directories: Sequence[str]) -> list[str]:
    """What tells these groups from others that may have their names later."""
    return [str(os.stat(path).st_ino) for path in directories]


def owned(directories: Sequence[str], known: Sequence[str]) -> list[str]:
    """Those of the groups that are still the ones of these :func:`identities`, and that we may empty (RT-32).

    Not those that are gone or were made again by somebody, nothing that is no control group, and no group with this
    very process in it, wherever a state file came by their names.
    """
    found: list[str] = []
    for path, identity in zip(directories, known):  # noqa: B905 - one that has no identity is not ours
        try:
            same = str(os.lstat(path).st_ino) == identity and os.path.exists(f"{path}/cgroup.procs")
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.ENOTDIR):
                raise
            continue
        if same and os.getpid() not in processes([path]):
            found.append(path)
    return found


def _remove_if_empty(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in (*_IN_USE, errno.ENOENT, errno.EACCES, errno.EPERM):
            raise


def _remove_tree(path: str) -> bool:
    """Remove ``path`` and all groups below, or only those when it was there before; False when something is in use."""
    try:
        for mark in os.listxattr(path, follow_symlinks=False):
            if mark in _MARKS:
                return _leave(path, mark)
        try:
            os.rmdir(path)
        except OSError as error:
            if error.errno not in _IN_USE:
                raise
            _remove_below(path)
            os.rmdir(path)
    except FileNotFoundError:
        return not os.path.lexists(path)
    except OSError as error:
        if error.errno not in _IN_USE:
            raise
        return False
    return True


def _remove_below(path: str) -> None:
    """Remove the groups in ``path``, deepest first, with one descriptor whatever the depth.

    A container that may write its groups can nest them deeper than any path or descriptor limit.
    """
    current = os.open(path, _DIRECTORY)
    names: list[str] = []
    try:
        while True:
            child = _first_directory(current)
            if child is not None:
                names.append(child)
                current = move(current, child)
            elif names:
                current = move(current, "..")
                os.rmdir(names.pop(), dir_fd=current)
            else:
                return
    finally:
        os.close(current)


def _first_directory(descriptor: int) -> str | None:
    with os.scandir(descriptor) as entries:
        return next((entry.name for entry in entries if entry.is_dir(follow_symlinks=False)), None)
