"""Operations that mount: file systems, binds, control groups, masked and read-only paths.

Every target is resolved once inside the root and mounts attach to that descriptor. Links inside the root may lead
elsewhere inside it, never out; ``/proc`` and ``/sys`` must be real directories.
"""

from __future__ import annotations

import errno
import os
import stat

from ociworks._linux import mount, path
from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ociworks.runtime._init.context import Context

__all__ = ["bind", "cgroup_tree", "filesystem", "mask", "read_only"]

_PROC_MAGIC: Final = 0x9FA0
_AT_FDCWD: Final = -100

# Files of procfs that may be covered: they describe the machine and steer nothing.
_PROC_FILES: Final = frozenset(
    f"/proc/{name}"
    for name in ("cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo")
) | {"/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled"}


def filesystem(
    context: Context,
    fstype: str,
    source: str,
    target: str,
    options: tuple[tuple[str, str | None], ...],
    attributes: int,
    propagation: int,
) -> None:
    """Mount a new file system on a directory of the root."""
    made = mount.make_filesystem(fstype, (("source", source or fstype), *options), attributes)
    try:
        place = (
            _kernel_directory(context, target) if fstype in ("proc", "sysfs") else directory(context, target)
        )
        try:
            if fstype != "proc":
                _refuse_proc(place, target, covers_proc=False)
            mount.attach(made, place)
        finally:
            os.close(place)
        _propagate(made, propagation)
    finally:
        os.close(made)


def bind(
    context: Context,
    source: str,
    target: str,
    recursive: bool,  # noqa: FBT001 - an operation is a flat tuple
    attributes: tuple[int, int, int, int],
    propagation: int,
) -> None:
    """Bind a host path; ``attributes`` are set and clear for the top mount, then set and clear for all below too."""
    made = mount.clone_tree(_AT_FDCWD, source, recursive=recursive)
    try:
        _set(made, attributes)
        is_directory = stat.S_ISDIR(os.stat(made).st_mode)
        place = directory(context, target) if is_directory else file(context, target)
        try:
            covers_proc = path.filesystem_type(made) == _PROC_MAGIC
            _refuse_proc(place, target, covers_proc=covers_proc)
            mount.attach(made, place)
        finally:
            os.close(place)
        _propagate(made, propagation)
    finally:
        os.close(made)


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
    rest = attributes & ~mount.ATTR_RDONLY
    if len(layout) == 1 and not layout[0][0]:
        _hierarchy(directory(context, target), layout[0], own_namespace=own_namespace, attributes=attributes)
        return
    options: tuple[tuple[str, str | None], ...] = (("source", "tmpfs"), ("mode", "755"), ("size", "1m"))
    top = mount.make_filesystem("tmpfs", options, rest)
    try:
        place = directory(context, target)
        try:
            _refuse_proc(place, target, covers_proc=False)
            mount.attach(top, place)
        finally:
            os.close(place)
        for hierarchy in layout:
            os.mkdir(hierarchy[0], 0o755, dir_fd=top)
            for link in hierarchy[4]:
                os.symlink(hierarchy[0], link, dir_fd=top)
            inner = os.open(hierarchy[0], os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
            _hierarchy(inner, hierarchy, own_namespace=own_namespace, attributes=attributes)
        if attributes & mount.ATTR_RDONLY:
            mount.set_attributes(top, set_=mount.ATTR_RDONLY)
    finally:
        os.close(top)


def _hierarchy(
    place: int,
    hierarchy: tuple[str, str, tuple[tuple[str, str | None], ...], str, tuple[str, ...]],
    *,
    own_namespace: bool,
    attributes: int,
) -> None:
    """Mount one hierarchy on the directory ``place``, which is closed."""
    _, fstype, options, host_path, _ = hierarchy
    try:
        if own_namespace:
            made = mount.make_filesystem(fstype, (("source", "cgroup"), *options), attributes)
        else:
            made = mount.clone_tree(_AT_FDCWD, host_path)
        try:
            if not own_namespace:
                mount.set_attributes(made, set_=attributes)
            mount.attach(made, place)
        finally:
            os.close(made)
    finally:
        os.close(place)


def mask(context: Context, paths: tuple[str, ...]) -> None:
    """Cover files with the pinned null device and directories with one empty read-only tmpfs; skip what is missing."""
    empty = -1
    try:
        for name in paths:
            place = _existing(context, name)
            if place < 0:
                continue
            try:
                if stat.S_ISDIR(os.stat(place).st_mode):
                    if empty < 0:
                        empty = mount.make_filesystem(
                            "tmpfs",
                            (("source", "tmpfs"), ("size", "0"), ("nr_inodes", "2")),
                            mount.ATTR_RDONLY,
                        )
                        mount.attach(empty, place)
                        continue
                    cover = mount.clone_tree(empty, "")
                else:
                    cover = mount.clone_tree(context.null, "")
                mount.attach(cover, place)
                os.close(cover)
            finally:
                os.close(place)
    finally:
        if empty >= 0:
            os.close(empty)


def read_only(context: Context, paths: tuple[str, ...]) -> None:
    """Bind each path over itself, read-only with everything below; skip what is missing."""
    for name in paths:
        place = _existing(context, name)
        if place < 0:
            continue
        try:
            made = mount.clone_tree(place, "", recursive=True)
            try:
                mount.set_attributes(made, set_=mount.ATTR_RDONLY, recursive=True)
                mount.attach(made, place)
            finally:
                os.close(made)
        finally:
            os.close(place)


def directory(context: Context, target: str) -> int:
    """A descriptor of the directory ``target`` in the root; missing parts are made."""
    return path.makedirs_in_root(context.root, target)


def file(context: Context, target: str) -> int:
    """A descriptor of the file ``target`` in the root; an empty one is made by mknod when it is missing."""
    try:
        return path.open_in_root(context.root, target, os.O_PATH)
    except FileNotFoundError:
        parent, _, name = target.rstrip("/").rpartition("/")
        place = path.makedirs_in_root(context.root, parent)
        try:
            os.mknod(name, stat.S_IFREG | 0o644, dir_fd=place)
            return path.openat2(place, name, os.O_PATH | os.O_NOFOLLOW)
        finally:
            os.close(place)


def _existing(context: Context, target: str) -> int:
    try:
        return path.open_in_root(context.root, target, os.O_PATH)
    except (FileNotFoundError, NotADirectoryError):
        return -1


def _kernel_directory(context: Context, target: str) -> int:
    """The place for procfs or sysfs: a real directory on the whole way, never reached through a link."""
    os.close(directory(context, target))
    flags = os.O_PATH | os.O_DIRECTORY
    try:
        return path.openat2(
            context.root, target, flags, resolve=path.RESOLVE_IN_ROOT | path.RESOLVE_NO_SYMLINKS
        )
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StepError(
                "expected a directory, found a symbolic link in the image", target, errno.ELOOP
            ) from None
        raise


def _refuse_proc(place: int, target: str, *, covers_proc: bool) -> None:
    """Nothing may be mounted on or below procfs, but for a few files that only tell about the machine."""
    if path.filesystem_type(place) != _PROC_MAGIC or covers_proc:
        return
    name = "/" + "/".join(part for part in target.split("/") if part not in ("", "."))
    if name not in _PROC_FILES:
        raise StepError("refused to mount over procfs", target, errno.EPERM)


def _set(made: int, attributes: tuple[int, int, int, int]) -> None:
    set_, clear, set_all, clear_all = attributes
    if set_all or clear_all:
        mount.set_attributes(made, set_=set_all, clear=clear_all, recursive=True)
    if set_ or clear:
        mount.set_attributes(made, set_=set_, clear=clear)


def _propagate(made: int, propagation: int) -> None:
    """Apply a propagation type; bit 0 (MS_RDONLY elsewhere) stands for "and all below"."""
    if propagation:
        mount.set_attributes(made, propagation=propagation & ~1, recursive=bool(propagation & 1))
