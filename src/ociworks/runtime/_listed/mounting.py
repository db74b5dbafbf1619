"""Operations on the root filesystem and its mounts, as system calls in a list.

Descriptors have numbers that are known ahead: the kernel gives the lowest that is free, and each call that opens one
is expected to give just that.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import struct

from ociworks._linux import calls
from ociworks._linux import mount as api
from ociworks._linux import path as names
from ociworks.runtime._init import listed, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final

    from ociworks._linux.calls import CallList

__all__ = ["OPERATIONS", "Mounting", "NotListed"]

_AT_FDCWD: Final = 0xFFFFFF9C
_AT_EMPTY_PATH: Final = 0x1000
_AT_RECURSIVE: Final = 0x8000
_NO_FOLLOW: Final = 0x100
_FROM_AND_TO_EMPTY: Final = 0x44
_CLONE: Final = 1
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_CLOEXEC: Final = 1
_MNT_DETACH: Final = 2
_BASIC: Final = 0x7FF
_PROC_MAGIC: Final = struct.pack("=Q", 0x9FA0)
_PROC_ROOT: Final = struct.pack("=Q", 1)
_PLACE: Final = os.O_PATH | os.O_DIRECTORY
_PLAIN: Final = names.RESOLVE_IN_ROOT | names.RESOLVE_NO_SYMLINKS
_IN_PROC: Final = names.RESOLVE_BENEATH | names.RESOLVE_NO_MAGICLINKS | names.RESOLVE_NO_XDEV
_OPEN_HOST: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MISSING: Final = calls.errors(errno.ENOENT)
_ABSENT: Final = calls.errors(errno.ENOENT, errno.ENOTDIR)
_FILE: Final = calls.errors(errno.ENOTDIR)
_NEVER: Final = 0xFFFFFFFE
"""No descriptor has this number."""
_THERE: Final = calls.errors(errno.EEXIST, errno.EROFS)
_GROUPS: Final = calls.SCRATCH
"""What the launcher says of control groups; then, what the kernel does."""
_FOUND: Final = calls.SCRATCH + 0x1000
_TEXT: Final = 0xFFF
_HERE: Final = calls.SCRATCH + 0x2000
_OTHER: Final = calls.SCRATCH + 0x2200
_STATX_MODE, _STATX_INODE, _STATX_RDEV = 0x1D, 0x20, 0x80
_CHARACTERS: Final = (stat.S_IFCHR | stat.S_IRUSR) >> 8
_NULL_DEVICE: Final = struct.pack("=II", 1, 3)
_RIGHTS: Final = calls.SCRATCH + 0x3000
_RIGHTS_SPACE: Final = 0x1000


class NotListed(Exception):
    """A list cannot say this."""


class Mounting(listed.Writing):
    """A first process: its list, and what is open at this point of it."""

    def __init__(
        self,
        calls_: CallList,
        sync: int,
        groups: int,
        pipes: tuple[bool, ...],
        last_capability: int,
        tasks: int,
    ) -> None:
        super().__init__(calls_, sync, pipes, last_capability, outlives=False)
        self.groups = groups
        self.tasks = tasks
        """How many files of control groups come on ``groups``."""
        self.root = self.null = -1
        self._open = {0, 1, 2, sync, *((groups,) if groups >= 0 else ())}
        self._kept: dict[bytes, int] = {}
        self._devices = ("", -1)
        self._kernel: list[str] = []

    def mounted(self, fstype: str, target: str) -> None:
        """Remember where the kernel's own file systems are."""
        if (fstype, target) in (("proc", "/proc"), ("sysfs", "/sys")):
            self._kernel.append(target + "/")

    def shows(self, name: str) -> bool:
        """Whether what is at a path of the host's may be expected at the same path here."""
        return name.startswith(tuple(self._kernel))

    def opens(self, name: str, *arguments: int, pardoned: tuple[int, int] = (0, 0)) -> int:
        """Append a call that opens a descriptor; its number."""
        (fd,) = self.received(1)
        self.list.call(name, *arguments, expected=fd, pardoned=pardoned)
        return fd

    def received(self, count: int) -> list[int]:
        """The numbers of as many descriptors that come at once."""
        free = (number for number in itertools.count() if number not in self._open)
        fds = list(itertools.islice(free, count))
        self._open.update(fds)
        return fds

    def close(self, *fds: int) -> None:
        """Append the ends of descriptors."""
        for fd in fds:
            self.list.call("close", fd)
            self._open.discard(fd)

    def at(self, data: bytes) -> int:
        """The address of these bytes, which nobody changes."""
        if data not in self._kept:
            self._kept[data] = self.list.put(data)
        return self._kept[data]

    def text(self, text: str | bytes) -> int:
        """The same of a string."""
        raw = os.fsencode(text)
        if 0 in raw:
            raise NotListed("a string with a null byte")
        return self.at(raw + b"\0")

    def jump(self) -> int:
        """Append a call that always goes on elsewhere (``CallList.land``)."""
        return self.list.call("forget")

    def openat2(
        self, where: int, name: str, flags: int, resolve: int, pardoned: tuple[int, int] = (0, 0)
    ) -> int:
        """A descriptor of a name below another one."""
        how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve)
        return self.opens("openat2", where, self.text(name), self.at(how), len(how), pardoned=pardoned)

    def existing(self, name: str, flags: int = os.O_PATH) -> tuple[int, int]:
        """A descriptor of what may be there in the root, and the jump that is taken if it is.

        What follows is for when it is not, and nothing is open then.
        """
        self.list.call("forget")
        place = self.openat2(self.root, name, flags, names.IN_ROOT, pardoned=_ABSENT)
        self._open.discard(place)
        return place, self.list.call("remembered")

    def arrive(self, jump: int, place: int) -> None:
        """A jump of :meth:`existing` arrives here, where the descriptor is open."""
        self.list.land(jump)
        self._open.add(place)

    def cover(self, source: int, place: int) -> None:
        """Mount a copy of one mount on a place, and close that."""
        made = self.tree(source)
        self.attach(made, place)
        self.close(made, place)

    def operation(self, index: int, operation: tuple[Any, ...]) -> None:
        """Append one of the plan. A failure of it tells only that the list gives up."""
        name, *arguments = operation
        self.list.report(self.sync, wire.FAILED + wire.pack_failure(0, index, wire.LISTED, name, ""))
        if name not in ("make_device", "dev_link"):
            self.devices_done()
        OPERATIONS[name](self, *arguments)

    def directory(self, target: str) -> int:
        """The directory ``target`` in the root, made when missing, reached without links."""
        return self._made(target, _PLACE, is_file=False)

    def file(self, target: str) -> int:
        """The same for what is no directory."""
        return self._made(target, os.O_PATH, is_file=True)

    def _made(self, target: str, flags: int, *, is_file: bool) -> int:
        parts = target.strip("/").split("/")
        if "/" + "/".join(parts) != target or not {"", ".", ".."}.isdisjoint(parts):
            raise NotListed(target)
        self.list.call("forget")
        place = self.openat2(self.root, target, flags, _PLAIN, pardoned=_MISSING)
        there = self.list.call("remembered")
        self._open.discard(place)  # it is not, where what follows is done
        for depth, part in enumerate(parts):
            above = (
                self.root if not depth else self.openat2(self.root, "/".join(parts[:depth]), _PLACE, _PLAIN)
            )
            if is_file and depth == len(parts) - 1:
                self.list.call("mknodat", above, self.text(part), stat.S_IFREG | 0o644, 0, pardoned=_THERE)
            else:
                self.list.call("mkdirat", above, self.text(part), 0o755, pardoned=_THERE)
            if depth:
                self.close(above)
        self.openat2(self.root, target, flags, _PLAIN)
        self.list.land(there)
        return place

    def attributes(
        self, made: int, *, set_: int = 0, clear: int = 0, kind: int = 0, below: bool = False, name: str = ""
    ) -> None:
        """mount_setattr(2)."""
        attr = self.at(struct.pack("=QQQQ", set_, clear, kind, 0))
        flags = (_AT_RECURSIVE if below else 0) | (0 if name else _AT_EMPTY_PATH)
        self.list.call("mount_setattr", made, self.text(name), flags, attr, 32)

    def propagate(self, made: int, propagation: Sequence[int]) -> None:
        """Propagation types; bit 0 stands for "and all below"."""
        for kind in propagation:
            self.attributes(made, kind=kind & ~1, below=bool(kind & 1))

    def tree(self, place: int, name: str = "", *, below: bool = False) -> int:
        """A detached copy of a mount."""
        flags = _CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if below else 0) | (0 if name else _AT_EMPTY_PATH)
        return self.opens("open_tree", place, self.text(name), flags)

    def attach(self, made: int, place: int) -> None:
        """move_mount(2)."""
        empty = self.text("")
        self.list.call("move_mount", made, empty, place, empty, _FROM_AND_TO_EMPTY)

    def filesystem(self, fstype: str, options: Sequence[tuple[str, str | None]], attributes: int) -> int:
        """A detached mount of a new file system."""
        context = self.opens("fsopen", self.text(fstype), _CLOEXEC)
        for key, value in options:
            if value is None:
                self.list.call("fsconfig", context, _SET_FLAG, self.text(key), 0, 0)
            else:
                self.list.call("fsconfig", context, _SET_STRING, self.text(key), self.text(value), 0)
        self.list.call("fsconfig", context, _CREATE, 0, 0, 0)
        made = self.opens("fsmount", context, _CLOEXEC, attributes)
        self.close(context)
        return made

    def expect_type(self, place: int, *, proc: bool) -> None:
        """The file system that a descriptor is on is procfs, or is not."""
        self.list.call("fstatfs", place, _HERE)
        self.list.call("equal", _HERE, self.at(_PROC_MAGIC), 8, expected=0 if proc else 1)

    def expect_kind(self, place: int, *, is_directory: bool) -> None:
        """A descriptor refers to a directory, or does not."""
        how = self.at(struct.pack("=QQQ", _PLACE | os.O_CLOEXEC, 0, 0))
        if is_directory:
            self.close(self.openat2(place, ".", _PLACE, 0))
        else:
            self.list.call("openat2", place, self.text("."), how, 24, expected=_NEVER, pardoned=_FILE)

    def inode(self, place: int, name: str, where: int) -> None:
        """Have what stat(2) says of a file, beginning with its device and its inode."""
        flags = 0 if name else _AT_EMPTY_PATH
        self.list.call("newfstatat", place, self.text(name), where, flags)

    def write_proc(self, name: str, value: bytes, *, links: bool) -> None:
        """One write to ``/proc/<name>``, of a procfs that is one (RT-12)."""
        base = self.opens("openat", _AT_FDCWD, self.text("/proc"), _OPEN_HOST)
        self.expect_type(base, proc=True)
        self.list.call("statx", base, self.text(""), _AT_EMPTY_PATH, _BASIC, _HERE)
        self.list.call("equal", _HERE + _STATX_INODE, self.at(_PROC_ROOT), 8, expected=0)
        resolve = _IN_PROC if links else _IN_PROC | names.RESOLVE_NO_SYMLINKS
        file = self.openat2(base, name, os.O_WRONLY, resolve)
        self.close(base)
        self.list.call("write", file, self.at(value), len(value), expected=len(value))
        self.close(file)

    def devices(self, name: str) -> int:
        """A directory for devices, which stays open for the next."""
        if self._devices[0] != name:
            self.devices_done()
            self._devices = (name, self.directory(name))
        return self._devices[1]

    def devices_done(self) -> None:
        """No more of them."""
        if self._devices[0]:
            self.close(self._devices[1])
        self._devices = ("", -1)


def _pin_root(
    here: Mounting,
    rootfs: str,
    propagation: int,
    parent_mount: str,
    layers: tuple[Sequence[str], str, str, bool, bool] | None,
) -> None:
    if propagation:
        here.attributes(_AT_FDCWD, kind=propagation, below=True, name="/")
    if parent_mount:
        here.attributes(_AT_FDCWD, kind=api.MS_PRIVATE, name=parent_mount)
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    here.null = here.opens("openat", _AT_FDCWD, here.text("/dev/null"), flags)
    here.list.call("statx", here.null, here.text(""), _AT_EMPTY_PATH, _BASIC, _HERE)
    here.list.call("compare", _HERE + _STATX_MODE, _CHARACTERS)
    here.list.call("equal", _HERE + _STATX_RDEV, here.at(_NULL_DEVICE), 8, expected=0)
    place = here.opens("openat", _AT_FDCWD, here.text(rootfs), _OPEN_HOST)
    here.inode(place, "", _HERE)
    here.inode(_AT_FDCWD, "/", _OTHER)
    here.list.call("equal", _HERE, _OTHER, 16, expected=1)
    if layers is None:
        here.root = here.tree(place, below=True)
        here.attributes(here.root, kind=api.MS_SLAVE, below=True)
        here.attach(here.root, place)
    else:
        _overlay(here, place, *layers)
        here.root = here.opens("openat", _AT_FDCWD, here.text(rootfs), _OPEN_HOST)
        here.attributes(here.root, kind=api.MS_SLAVE)
    here.close(place)


def _overlay(
    here: Mounting,
    place: int,
    lowers: Sequence[str],
    upper: str,
    work: str,
    user: bool,  # noqa: FBT001 - an operation is a flat tuple
    volatile: bool,  # noqa: FBT001
) -> None:
    directories = (*lowers, *((upper, work) if upper else ()))
    opened = [here.opens("openat", _AT_FDCWD, here.text(name), _OPEN_HOST) for name in directories]
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
    here: Mounting,
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
    _check_place(here, place, target, covers_proc=fstype == "proc")
    made = here.filesystem(fstype, (("source", source or fstype), *options), attributes)
    here.mounted(fstype, target)
    here.propagate(made, propagation)
    here.attach(made, place)
    here.close(made, place)


def _check_place(here: Mounting, place: int, name: str, *, covers_proc: bool) -> None:
    """Nothing is mounted on the root itself, on ``/proc`` but procfs, or on and below procfs (RT-10)."""
    if name == "/" or name.startswith("/proc/") or (name == "/proc" and not covers_proc):
        raise NotListed(name)
    if not covers_proc:
        here.expect_type(place, proc=False)


def _bind(  # noqa: PLR0913, PLR0917 - an operation is a flat tuple
    here: Mounting,
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
        made = here.tree(_AT_FDCWD, source, below=recursive)
    else:
        at_source = here.openat2(_AT_FDCWD, source, os.O_PATH, names.RESOLVE_NO_SYMLINKS)
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
    _check_place(here, place, target, covers_proc=False)
    here.propagate(made, propagation)
    here.attach(made, place)
    here.close(place, made)


def _mount_read_only(here: Mounting, targets: Sequence[str]) -> None:
    for name in targets:
        place = here.openat2(here.root, name, _PLACE, names.IN_ROOT)
        here.attributes(place, set_=api.ATTR_RDONLY)
        here.close(place)


def _join_cgroups(here: Mounting, membership: Sequence[tuple[str, str]]) -> None:
    if here.groups >= 0:
        _enter(here)
    elif membership:
        raise NotListed("control groups")
    if not membership:
        return
    if any("/" not in path for _, path in membership):
        raise NotListed("control groups")
    own = here.opens("openat", _AT_FDCWD, here.text("/proc/self/cgroup"), os.O_RDONLY | os.O_CLOEXEC)
    here.list.call("read", own, _FOUND, _TEXT)
    here.close(own)
    here.list.call("equal", _FOUND, _GROUPS + 1, _TEXT, expected=0)


def _enter(here: Mounting) -> None:
    """Wait for the files of the control groups, and for what the kernel is to say once we are in."""
    piece = here.list.put(struct.pack("=QQ", _GROUPS, _TEXT + 1))
    header = here.list.put(struct.pack("=QQQQQQQ", 0, 0, piece, 1, _RIGHTS, _RIGHTS_SPACE, 0))
    nothing = here.list.call("recvmsg", here.groups, header, 0x40000000)
    came = here.jump()
    here.list.land(nothing)
    here.list.call("fail")
    here.list.land(came)
    files = here.received(here.tasks)
    here.close(here.groups)
    for fd in files:
        here.list.call("write", fd, here.at(b"0"), 1, expected=1)
        here.close(fd)


def _unshare(here: Mounting, kinds: int) -> None:
    here.list.call("unshare", kinds)


def _cgroup_tree(
    here: Mounting,
    target: str,
    layout: Sequence[tuple[str, str, Sequence[tuple[str, str | None]], str, Sequence[str]]],
    own_namespace: bool,  # noqa: FBT001 - an operation is a flat tuple
    attributes: int,
) -> None:
    place = here.directory(target)
    _check_place(here, place, target, covers_proc=False)
    if len(layout) == 1 and not layout[0][0]:
        _hierarchy(here, place, layout[0], attributes, own_namespace=own_namespace)
        here.close(place)
        return
    rest = attributes & ~api.ATTR_RDONLY | api.ATTR_NOSUID | api.ATTR_NODEV | api.ATTR_NOEXEC
    top = here.filesystem("tmpfs", (("source", "tmpfs"), ("mode", "755"), ("size", "1m")), rest)
    for name, _, _, _, links in layout:
        here.list.call("mkdirat", top, here.text(name), 0o755)
        for link in links:
            here.list.call("symlinkat", here.text(name), top, here.text(link))
    if attributes & api.ATTR_RDONLY:
        here.attributes(top, set_=api.ATTR_RDONLY)
    here.attach(top, place)
    for hierarchy in layout:
        inner = here.opens("openat", top, here.text(hierarchy[0]), _OPEN_HOST)
        _hierarchy(here, inner, hierarchy, attributes | rest, own_namespace=own_namespace)
        here.close(inner)
    here.close(top, place)


def _hierarchy(
    here: Mounting,
    place: int,
    hierarchy: tuple[str, str, Sequence[tuple[str, str | None]], str, Sequence[str]],
    attributes: int,
    *,
    own_namespace: bool,
) -> None:
    _, fstype, options, host_path, _ = hierarchy
    if own_namespace:
        made = here.filesystem(fstype, (("source", "cgroup"), *options), attributes)
    else:
        made = here.tree(_AT_FDCWD, host_path)
        here.attributes(made, set_=attributes, kind=api.MS_PRIVATE)
    here.attach(made, place)
    here.close(made)


def _make_device(
    here: Mounting, name: str, kind: int, major: int, minor: int, mode: int, owner: tuple[int, int]
) -> None:
    device = os.makedev(major, minor) if kind != stat.S_IFIFO else 0
    if device > listed.EVERY:
        raise NotListed(name)
    parent, _, base = name.rpartition("/")
    place = here.devices(parent)
    here.list.call("mknodat", place, here.text(base), kind | mode, device)
    here.list.call("fchownat", place, here.text(base), *(each & listed.EVERY for each in owner), _NO_FOLLOW)


def _dev_link(here: Mounting, name: str, target: str) -> None:
    here.list.call("symlinkat", here.text(target), here.devices("/dev"), here.text(name))


def _prepare_cwd(here: Mounting, cwd: str) -> None:
    if cwd != "/":
        here.close(here.directory(cwd))


def _read_only(here: Mounting, paths: Sequence[str], proved: Sequence[str]) -> None:
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


def _mask(here: Mounting, paths: Sequence[str], proved: Sequence[str]) -> None:
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


def _mask_first(here: Mounting, name: str) -> int:
    """Mount the cover of directories on what is one; it can be copied from then on."""
    place = here.openat2(here.root, name, _PLACE, names.IN_ROOT)
    empty = here.filesystem(
        "tmpfs", (("source", "tmpfs"), ("size", "0"), ("nr_inodes", "2")), api.ATTR_RDONLY
    )
    here.attach(empty, place)
    here.close(place)
    return empty


def _mask_one(here: Mounting, name: str, empty: int) -> None:
    place, is_directory = here.existing(name, _PLACE)
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


def _pivot(here: Mounting) -> None:
    old = here.opens("openat", _AT_FDCWD, here.text("/"), _PLACE | os.O_CLOEXEC)
    dot = here.text(".")
    here.list.call("fchdir", here.root)
    here.list.call("pivot_root", dot, dot)
    here.list.call("fchdir", old)
    here.attributes(_AT_FDCWD, kind=api.MS_SLAVE, below=True, name=".")
    here.list.call("umount2", dot, _MNT_DETACH)
    here.list.call("chdir", here.text("/"))
    here.close(old, here.root, here.null)


def _root_read_only(here: Mounting) -> None:
    here.attributes(here.root, set_=api.ATTR_RDONLY)


def _root_propagation(here: Mounting, propagation: int) -> None:
    here.attributes(_AT_FDCWD, kind=propagation & ~1, below=bool(propagation & 1), name="/")


def _sysctl(here: Mounting, name: str, value: str) -> None:
    here.write_proc(f"sys/{name}", value.encode(), links=False)


def _oom_score_adj(here: Mounting, value: int) -> None:
    here.write_proc("self/oom_score_adj", b"%d" % value, links=True)


def _hostname(here: Mounting, name: str) -> None:
    here.list.call("sethostname", here.text(name), len(os.fsencode(name)))


def _domainname(here: Mounting, name: str) -> None:
    here.list.call("setdomainname", here.text(name), len(os.fsencode(name)))


def _loopback_up(here: Mounting) -> None:
    """Whoever starts with this list is in a network namespace where it is up."""


OPERATIONS: Final[dict[str, Callable[..., None]]] = {
    **listed.OPERATIONS,
    "bind": _bind,
    "cgroup_tree": _cgroup_tree,
    "dev_link": _dev_link,
    "domainname": _domainname,
    "filesystem": _filesystem,
    "hostname": _hostname,
    "join_cgroups": _join_cgroups,
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
    "unshare": _unshare,
}
"""What the list of a first process can say, by the names in a plan."""
