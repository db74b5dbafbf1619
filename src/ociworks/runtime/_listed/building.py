"""The list of a first process in the making: what is open at each point of it, and what operations have in common.

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
from ociworks._linux import path as names
from ociworks.runtime._init import listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from ociworks._linux.calls import CallList

__all__ = ["AT_EMPTY_PATH", "AT_FDCWD", "BASIC", "HERE", "OPEN_HOST", "PLACE", "First", "NotListed"]

AT_FDCWD: Final = 0xFFFFFF9C
AT_EMPTY_PATH: Final = 0x1000
BASIC: Final = 0x7FF
"""STATX_BASIC_STATS."""
PLACE: Final = os.O_PATH | os.O_DIRECTORY
OPEN_HOST: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How directories of the host's are opened."""
HERE: Final = calls.SCRATCH + 0x2000
"""The address where calls put what they find."""
_AT_RECURSIVE: Final = 0x8000
_FROM_AND_TO_EMPTY: Final = 0x44
_CLONE: Final = 1
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_CLOEXEC: Final = 1
_PROC_MAGIC: Final = struct.pack("=Q", 0x9FA0)
_PROC_ROOT: Final = struct.pack("=Q", 1)
_STATX_INODE: Final = 0x20
_PLAIN: Final = names.RESOLVE_IN_ROOT | names.RESOLVE_NO_SYMLINKS
_IN_PROC: Final = names.RESOLVE_BENEATH | names.RESOLVE_NO_MAGICLINKS | names.RESOLVE_NO_XDEV
_MISSING: Final = calls.errors(errno.ENOENT)
_ABSENT: Final = calls.errors(errno.ENOENT, errno.ENOTDIR)
_FILE: Final = calls.errors(errno.ENOTDIR)
_NEVER: Final = 0xFFFFFFFE
"""No descriptor has this number."""
_THERE: Final = calls.errors(errno.EEXIST, errno.EROFS)


class NotListed(Exception):
    """A list cannot say this."""


class First(listed.Writing):
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

    def directory(self, target: str) -> int:
        """The directory ``target`` in the root, made when missing, reached without links."""
        return self._made(target, PLACE, is_file=False)

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
                self.root if not depth else self.openat2(self.root, "/".join(parts[:depth]), PLACE, _PLAIN)
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
        flags = (_AT_RECURSIVE if below else 0) | (0 if name else AT_EMPTY_PATH)
        self.list.call("mount_setattr", made, self.text(name), flags, attr, 32)

    def propagate(self, made: int, propagation: Sequence[int]) -> None:
        """Propagation types; bit 0 stands for "and all below"."""
        for kind in propagation:
            self.attributes(made, kind=kind & ~1, below=bool(kind & 1))

    def tree(self, place: int, name: str = "", *, below: bool = False) -> int:
        """A detached copy of a mount."""
        flags = _CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if below else 0) | (0 if name else AT_EMPTY_PATH)
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
        self.list.call("fstatfs", place, HERE)
        self.list.call("equal", HERE, self.at(_PROC_MAGIC), 8, expected=0 if proc else 1)

    def expect_kind(self, place: int, *, is_directory: bool) -> None:
        """A descriptor refers to a directory, or does not."""
        how = self.at(struct.pack("=QQQ", PLACE | os.O_CLOEXEC, 0, 0))
        if is_directory:
            self.close(self.openat2(place, ".", PLACE, 0))
        else:
            self.list.call("openat2", place, self.text("."), how, 24, expected=_NEVER, pardoned=_FILE)

    def inode(self, place: int, name: str, where: int) -> None:
        """Have what stat(2) says of a file, beginning with its device and its inode."""
        flags = 0 if name else AT_EMPTY_PATH
        self.list.call("newfstatat", place, self.text(name), where, flags)

    def check_place(self, place: int, name: str, *, covers_proc: bool) -> None:
        """Nothing is mounted on the root itself, on ``/proc`` but procfs, or on and below procfs (RT-10)."""
        if name == "/" or name.startswith("/proc/") or (name == "/proc" and not covers_proc):
            raise NotListed(name)
        if not covers_proc:
            self.expect_type(place, proc=False)

    def write_proc(self, name: str, value: bytes, *, links: bool) -> None:
        """One write to ``/proc/<name>``, of a procfs that is one (RT-12)."""
        base = self.opens("openat", AT_FDCWD, self.text("/proc"), OPEN_HOST)
        self.expect_type(base, proc=True)
        self.list.call("statx", base, self.text(""), AT_EMPTY_PATH, BASIC, HERE)
        self.list.call("equal", HERE + _STATX_INODE, self.at(_PROC_ROOT), 8, expected=0)
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
