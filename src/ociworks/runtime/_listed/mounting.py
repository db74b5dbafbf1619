"""Operations on the root filesystem, its mounts and what is named, as system calls in a list."""

from __future__ import annotations

import os
import stat
import struct

from ociworks._linux import calls
from ociworks._linux import mount as api
from ociworks._linux import path as names
from ociworks.runtime._init import listed
from ociworks.runtime._listed import groups
from ociworks.runtime._listed.building import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    BASIC,
    HERE,
    OPEN_HOST,
    PLACE,
    First,
    NotListed,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Final

__all__ = ["OPERATIONS"]

_NO_FOLLOW: Final = 0x100
_MNT_DETACH: Final = 2
_OTHER: Final = calls.SCRATCH + 0x2200
_STATX_MODE, _STATX_RDEV = 0x1D, 0x80
_CHARACTERS: Final = (stat.S_IFCHR | stat.S_IRUSR) >> 8
_NULL_DEVICE: Final = struct.pack("=II", 1, 3)


def _pin_root(
    here: First,
    rootfs: str,
    propagation: int,
    parent_mount: str,
    layers: tuple[Sequence[str], str, str, bool, bool] | None,
) -> None:
    if propagation:
        here.attributes(AT_FDCWD, kind=propagation, below=True, name="/")
    if parent_mount:
        here.attributes(AT_FDCWD, kind=api.MS_PRIVATE, name=parent_mount)
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    here.null = here.opens("openat", AT_FDCWD, here.text("/dev/null"), flags)
    here.list.call("statx", here.null, here.text(""), AT_EMPTY_PATH, BASIC, HERE)
    here.list.call("compare", HERE + _STATX_MODE, _CHARACTERS)
    here.list.call("equal", HERE + _STATX_RDEV, here.at(_NULL_DEVICE), 8, expected=0)
    place = here.opens("openat", AT_FDCWD, here.text(rootfs), OPEN_HOST)
    here.inode(place, "", HERE)
    here.inode(AT_FDCWD, "/", _OTHER)
    here.list.call("equal", HERE, _OTHER, 16, expected=1)
    if layers is None:
        here.root = here.tree(place, below=True)
        here.attributes(here.root, kind=api.MS_SLAVE, below=True)
        here.attach(here.root, place)
    else:
        _overlay(here, place, *layers)
        here.root = here.opens("openat", AT_FDCWD, here.text(rootfs), OPEN_HOST)
        here.attributes(here.root, kind=api.MS_SLAVE)
    here.close(place)


def _overlay(
    here: First,
    place: int,
    lowers: Sequence[str],
    upper: str,
    work: str,
    user: bool,  # noqa: FBT001 - an operation is a flat tuple
    volatile: bool,  # noqa: FBT001
) -> None:
    directories = (*lowers, *((upper, work) if upper else ()))
    opened = [here.opens("openat", AT_FDCWD, here.text(name), OPEN_HOST) for name in directories]
    if not upper and len(lowers) == 1:
        made = here.tree(opened[0])
        here.attributes(made, set_=api.ATTR_RDONLY)
    else:
        found = [f"/proc/self/fd/{fd}" for fd in opened]
        options: list[tuple[str, str | None]] = [("lowerdir+", name) for name in found[: len(lowers)]]
        options += [("upperdir", found[-2]), ("workdir", found[-1])] if upper else []
        options += [("userxattr", None)] if user else []
        options += [("volatile", None)] if volatile and upper else []
        made = here.filesystem("overlay", options, 0)
    here.attach(made, place)
    here.close(made, *opened)


def _filesystem(  # noqa: PLR0913, PLR0917 - an operation is a flat tuple
    here: First,
    fstype: str,
    source: str,
    target: str,
    options: Sequence[tuple[str, str | None]],
    attributes: int,
    propagation: Sequence[int],
    copy_up: bool,  # noqa: FBT001
    number: int,
) -> None:
    takes_mode = fstype == "tmpfs" and not any(key == "mode" for key, _ in options)
    if copy_up or number >= 0 or takes_mode:
        raise NotListed(target)
    place = here.directory(target)
    here.check_place(place, target, covers_proc=fstype == "proc")
    made = here.filesystem(fstype, (("source", source or fstype), *options), attributes)
    here.mounted(fstype, target)
    here.propagate(made, propagation)
    here.attach(made, place)
    here.close(made, place)


def _bind(  # noqa: PLR0913, PLR0917 - an operation is a flat tuple
    here: First,
    source: str,
    target: str,
    recursive: bool,  # noqa: FBT001
    attributes: tuple[int, int, int, int, int, int],
    propagation: Sequence[int],
    follow: bool,  # noqa: FBT001
    given: tuple[str, int, bool],
) -> None:
    if given[0]:
        raise NotListed(target)
    if follow:
        made = here.tree(AT_FDCWD, source, below=recursive)
    else:
        at_source = here.openat2(AT_FDCWD, source, os.O_PATH, names.RESOLVE_NO_SYMLINKS)
        made = here.tree(at_source, below=recursive)
        here.close(at_source)
    set_, clear, _, _, set_below, clear_below = attributes
    if set_ or clear:
        here.attributes(made, set_=set_, clear=clear)
    if set_below or clear_below:
        here.attributes(made, set_=set_below, clear=clear_below, below=True)
    is_directory = os.path.isdir(source)
    here.expect_kind(made, is_directory=is_directory)
    place = here.directory(target) if is_directory else here.file(target)
    here.check_place(place, target, covers_proc=False)
    here.propagate(made, propagation)
    here.attach(made, place)
    here.close(place, made)


def _mount_read_only(here: First, targets: Sequence[str]) -> None:
    for name in targets:
        place = here.openat2(here.root, name, PLACE, names.IN_ROOT)
        here.attributes(place, set_=api.ATTR_RDONLY)
        here.close(place)


def _make_device(
    here: First, name: str, kind: int, major: int, minor: int, mode: int, owner: tuple[int, int]
) -> None:
    device = os.makedev(major, minor) if kind != stat.S_IFIFO else 0
    if device > listed.EVERY:
        raise NotListed(name)
    parent, _, base = name.rpartition("/")
    place = here.devices(parent)
    here.list.call("mknodat", place, here.text(base), kind | mode, device)
    here.list.call("fchownat", place, here.text(base), *(each & listed.EVERY for each in owner), _NO_FOLLOW)


def _dev_link(here: First, name: str, target: str) -> None:
    here.list.call("symlinkat", here.text(target), here.devices("/dev"), here.text(name))


def _prepare_cwd(here: First, cwd: str) -> None:
    if cwd != "/":
        here.close(here.directory(cwd))


def _read_only(here: First, paths: Sequence[str], proved: Sequence[str]) -> None:
    if proved:
        raise NotListed(proved[0])
    for name in paths:
        place, there = here.existing(name)
        absent = here.jump()
        here.arrive(there, place)
        made = here.tree(place, below=True)
        here.attributes(made, set_=api.ATTR_RDONLY, below=True)
        here.attach(made, place)
        here.close(made, place)
        here.list.land(absent)


def _mask(here: First, paths: Sequence[str], proved: Sequence[str]) -> None:
    if proved:
        raise NotListed(proved[0])
    first = next((name for name in paths if here.shows(name) and os.path.isdir(name)), "")
    empty = -1
    for name in paths:
        if name == first and empty < 0:
            empty = _mask_first(here, name)
        else:
            _mask_one(here, name, empty)
    if empty >= 0:
        here.close(empty)


def _mask_first(here: First, name: str) -> int:
    """Mount the cover of directories on what is one; it can be copied from then on."""
    place = here.openat2(here.root, name, PLACE, names.IN_ROOT)
    empty = here.filesystem(
        "tmpfs", (("source", "tmpfs"), ("size", "0"), ("nr_inodes", "2")), api.ATTR_RDONLY
    )
    here.attach(empty, place)
    here.close(place)
    return empty


def _mask_one(here: First, name: str, empty: int) -> None:
    place, is_directory = here.existing(name, PLACE)
    file, is_file = here.existing(name)
    absent = here.jump()
    here.arrive(is_file, file)
    here.cover(here.null, file)
    masked = here.jump()
    here.arrive(is_directory, place)
    if empty < 0:
        here.list.call("fail")
    here.cover(empty & listed.EVERY, place)
    here.list.land(absent)
    here.list.land(masked)


def _pivot(here: First) -> None:
    old = here.opens("openat", AT_FDCWD, here.text("/"), PLACE | os.O_CLOEXEC)
    dot = here.text(".")
    here.list.call("fchdir", here.root)
    here.list.call("pivot_root", dot, dot)
    here.list.call("fchdir", old)
    here.attributes(AT_FDCWD, kind=api.MS_SLAVE, below=True, name=".")
    here.list.call("umount2", dot, _MNT_DETACH)
    here.list.call("chdir", here.text("/"))
    here.close(old, here.root, here.null)


def _root_read_only(here: First) -> None:
    here.attributes(here.root, set_=api.ATTR_RDONLY)


def _root_propagation(here: First, propagation: int) -> None:
    here.attributes(AT_FDCWD, kind=propagation & ~1, below=bool(propagation & 1), name="/")


def _sysctl(here: First, name: str, value: str) -> None:
    here.write_proc(f"sys/{name}", value.encode(), links=False)


def _oom_score_adj(here: First, value: int) -> None:
    here.write_proc("self/oom_score_adj", b"%d" % value, links=True)


def _hostname(here: First, name: str) -> None:
    here.list.call("sethostname", here.text(name), len(os.fsencode(name)))


def _domainname(here: First, name: str) -> None:
    here.list.call("setdomainname", here.text(name), len(os.fsencode(name)))


def _loopback_up(here: First) -> None:
    """Whoever starts with this list is in a network namespace where it is up."""


OPERATIONS: Final[dict[str, Callable[..., None]]] = {
    **listed.OPERATIONS,
    **groups.OPERATIONS,
    "bind": _bind,
    "dev_link": _dev_link,
    "domainname": _domainname,
    "filesystem": _filesystem,
    "hostname": _hostname,
    "loopback_up": _loopback_up,
    "make_device": _make_device,
    "mask": _mask,
    "mount_read_only": _mount_read_only,
    "oom_score_adj": _oom_score_adj,
    "pin_root": _pin_root,
    "pivot": _pivot,
    "prepare_cwd": _prepare_cwd,
    "read_only": _read_only,
    "root_propagation": _root_propagation,
    "root_read_only": _root_read_only,
    "sysctl": _sysctl,
}
"""What the list of a first process can say, by the names in a plan."""
