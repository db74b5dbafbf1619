"""Operations that mount: file systems, binds, control groups.

Every target is resolved once inside the root and mounts attach to that descriptor. Links inside the root may lead
elsewhere inside it, never out; ``/proc`` and ``/sys`` must be real directories.
"""

from __future__ import annotations

import errno
import os
import stat

from ociworks._linux import mount, path
from ociworks.runtime._init import copyup, identity, sources, targets, wire
from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from ociworks.runtime._init.context import Context

__all__ = ["bind", "cgroup_tree", "filesystem", "mount_read_only", "superblock"]

_PROC_MAGIC: Final = 0x9FA0
_AT_FDCWD: Final = -100
_UNREACHABLE: Final = (errno.EACCES, errno.EPERM, errno.ENOENT)
_NO_NEW_GROUPS: Final = (errno.EPERM, errno.EBUSY)

# Files of procfs that may be covered: they describe the machine and steer nothing.
_PROC_FILES: Final = frozenset(
    f"/proc/{name}"
    for name in ("cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo")
) | {"/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled"}


def filesystem(  # noqa: PLR0913, PLR0917 - an operation is a flat tuple
    context: Context,
    fstype: str,
    source: str,
    target: str,
    options: tuple[tuple[str, str | None], ...],
    attributes: int,
    propagation: tuple[int, ...],
    copy_up: bool,  # noqa: FBT001
    number: int,
) -> None:
    """Mount a new file system on a directory of the root."""
    if fstype in ("proc", "sysfs"):
        place, name = targets.kernel_directory(context, target), target
    else:
        place, name, options = _directory_for(context, fstype, target, options)
    try:
        _check_place(place, name, covers_proc=fstype == "proc")
        if number >= 0:
            made = context.superblocks[number]
        else:
            made = mount.make_filesystem(fstype, (("source", source or fstype), *options), attributes)
        try:
            if copy_up:
                copyup.copy(place, made)
            _propagate(made, propagation)
            mount.attach(made, place)
        finally:
            os.close(made)
    finally:
        os.close(place)


def superblock(
    context: Context, fstype: str, source: str, options: tuple[tuple[str, str | None], ...], attributes: int
) -> None:
    """Open a file system before device rules keep its device away."""
    context.superblocks.append(mount.make_filesystem(fstype, (("source", source), *options), attributes))


def _directory_for(
    context: Context, fstype: str, target: str, options: tuple[tuple[str, str | None], ...]
) -> tuple[int, str, tuple[tuple[str, str | None], ...]]:
    """The place, its name, and the options; a tmpfs without a mode takes over that of the directory it covers."""
    if fstype == "tmpfs" and not any(key == "mode" for key, _ in options):
        place = targets.existing(context, target)
        if place >= 0:
            mode = stat.S_IMODE(os.stat(place).st_mode)
            os.close(place)
            options = (("mode", f"{mode:o}"), *options)
    return (*targets.directory(context, target), options)


def bind(  # noqa: PLR0913, PLR0917 - an operation is a flat tuple
    context: Context,
    source: str,
    target: str,
    recursive: bool,  # noqa: FBT001
    attributes: tuple[int, int, int, int, int, int],
    propagation: tuple[int, ...],
    follow: bool,  # noqa: FBT001
    given: tuple[str, int, bool],
) -> None:
    """Bind a host path, or what the launcher opened in its place."""
    how, number, below = given
    made = context.take(number) if how == "tree" else -1
    if made < 0:
        made, mine = _open(
            context, source, recursive=recursive, follow=follow, spare=number if how == "spare" else -1
        )
        if mine:
            if how == "idmap":
                sources.map_ids(made, context.given[number], recursive=below)
            elif how == "ask":
                point = wire.MAP_ALL_IDS if below else wire.MAP_IDS
                identity.reach(context, point, (made, context.given[number]))
            _change(made, attributes, target)
    try:
        is_directory = stat.S_ISDIR(os.stat(made).st_mode)
        place, name = targets.directory(context, target) if is_directory else targets.file(context, target)
        try:
            _check_place(place, name, covers_proc=path.filesystem_type(made) == _PROC_MAGIC)
            _propagate(made, propagation)
            mount.attach(made, place)
        finally:
            os.close(place)
    finally:
        os.close(made)


def _change(made: int, attributes: tuple[int, int, int, int, int, int], target: str) -> None:
    """Give a bind its attributes; the error names it."""
    try:
        sources.change(made, attributes)
    except OSError as error:
        raise OSError(error.errno, error.strerror, target) from None


def _open(context: Context, source: str, *, recursive: bool, follow: bool, spare: int) -> tuple[int, bool]:
    """The tree at a host path and True; or the launcher's, when the path is closed to us, and False."""
    try:
        return sources.open_tree(source, recursive=recursive, follow=follow), True
    except OSError as error:
        if spare < 0 or error.errno not in _UNREACHABLE or context.given[spare] < 0:
            raise
    return context.take(spare), False


def mount_read_only(context: Context, names: tuple[str, ...]) -> None:
    """Make mounts read-only that had to be written while mount points and devices were made in them."""
    for name in names:
        place = path.open_in_root(context.root, name, os.O_PATH | os.O_DIRECTORY)
        try:
            mount.set_attributes(place, set_=mount.ATTR_RDONLY)
        finally:
            os.close(place)


def cgroup_tree(
    context: Context,
    target: str,
    layout: tuple[tuple[str, str, tuple[tuple[str, str | None], ...], str, tuple[str, ...]], ...],
    own_namespace: bool,  # noqa: FBT001 - an operation is a flat tuple
    attributes: int,
) -> None:
    """Show the control groups at ``target``: one mount on v2; on v1 and hybrid a tmpfs with one mount a hierarchy.

    Each hierarchy is (directory name or "", file system type, options, host path to bind without a cgroup namespace,
    names of links to it).
    """
    place, name = targets.directory(context, target)
    try:
        _check_place(place, name, covers_proc=False)
        if len(layout) == 1 and not layout[0][0]:
            _hierarchy(place, layout[0], own_namespace=own_namespace, attributes=attributes)
        else:
            _hierarchies(place, layout, own_namespace=own_namespace, attributes=attributes)
    finally:
        os.close(place)


def _hierarchies(
    place: int,
    layout: Sequence[tuple[str, str, tuple[tuple[str, str | None], ...], str, tuple[str, ...]]],
    *,
    own_namespace: bool,
    attributes: int,
) -> None:
    rest = attributes & ~mount.ATTR_RDONLY | mount.ATTR_NOSUID | mount.ATTR_NODEV | mount.ATTR_NOEXEC
    options: tuple[tuple[str, str | None], ...] = (("source", "tmpfs"), ("mode", "755"), ("size", "1m"))
    top = mount.make_filesystem("tmpfs", options, rest)
    try:
        for hierarchy in layout:
            os.mkdir(hierarchy[0], 0o755, dir_fd=top)
            for link in hierarchy[4]:
                os.symlink(hierarchy[0], link, dir_fd=top)
        if attributes & mount.ATTR_RDONLY:
            mount.set_attributes(top, set_=mount.ATTR_RDONLY)
        mount.attach(top, place)
        for hierarchy in layout:
            inner = os.open(hierarchy[0], os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
            try:
                _hierarchy(inner, hierarchy, own_namespace=own_namespace, attributes=attributes | rest)
            finally:
                os.close(inner)
    finally:
        os.close(top)


def _hierarchy(
    place: int,
    hierarchy: tuple[str, str, tuple[tuple[str, str | None], ...], str, tuple[str, ...]],
    *,
    own_namespace: bool,
    attributes: int,
) -> None:
    """Mount one hierarchy on the directory ``place``."""
    made = _groups(hierarchy, own_namespace=own_namespace, attributes=attributes)
    try:
        mount.attach(made, place)
    finally:
        os.close(made)


def _groups(
    hierarchy: tuple[str, str, tuple[tuple[str, str | None], ...], str, tuple[str, ...]],
    *,
    own_namespace: bool,
    attributes: int,
) -> int:
    """A hierarchy as a cgroup namespace shows it; the host's directory without one, or where none may be mounted."""
    _, fstype, options, host_path, _ = hierarchy
    if own_namespace:
        try:
            return mount.make_filesystem(fstype, (("source", "cgroup"), *options), attributes)
        except OSError as error:
            if error.errno not in _NO_NEW_GROUPS:
                raise
    made = mount.clone_tree(_AT_FDCWD, host_path)
    mount.set_attributes(made, set_=attributes, propagation=mount.MS_PRIVATE)
    return made


def _check_place(place: int, name: str, *, covers_proc: bool) -> None:
    """Nothing is mounted on the root itself, on ``/proc`` but procfs, or on and below procfs (ATTACKS RT-10).

    A few files that only tell about the machine may be covered. ``name`` has no links in it.
    """
    if name == "/":
        raise StepError("the root itself is no place for a mount", name, errno.EINVAL)
    on_proc = path.filesystem_type(place) == _PROC_MAGIC
    refused = name.startswith("/proc/") or ((name == "/proc" or on_proc) and not covers_proc)
    if refused and name not in _PROC_FILES:
        raise StepError("refused to mount over procfs: inside /proc", name, errno.EPERM)


def _propagate(made: int, propagation: tuple[int, ...]) -> None:
    """Apply propagation types; bit 0 (MS_RDONLY elsewhere) stands for "and all below"."""
    for kind in propagation:
        mount.set_attributes(made, propagation=kind & ~1, recursive=bool(kind & 1))
