"""Compiled filters on disk, for commands that start a process each time.

Loading libseccomp and compiling a profile takes longer than all else that ``create`` does, and nearly every container
has the same profile. A file holds the profile as text, who compiled it (libseccomp's file and ours, by inode, time and
size), and the program. It counts only when both are exactly the same, so its name is no more than a place to look.

Whoever can write such a file decides what a container may do, so it is believed only where nobody else can: below the
default state root, in a directory and a file of our own that are closed to others, reached without links. Anything else
is as if there were none, and the filter is compiled.
"""

from __future__ import annotations

import os
import stat
from _imp import source_hash

from ociworks.runtime._root import check_root, default_root
from ociworks.runtime.seccomp.value import CompiledFilter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ociworks.spec.runtime import Seccomp

__all__ = ["compile_once"]

_DIRECTORY: Final = "@filters"
_FORMAT: Final = 2
_MOST: Final = 64
"""Files; when there are more, all go and the directory fills anew."""
_LARGEST: Final = 4 << 20
_OURS: Final = ("alternatives", "checks", "compiler", "multiplex", "names", "newer", "ranges")
_PLACE: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def compile_once(seccomp: Seccomp) -> CompiledFilter:
    """The compiled filter, from the disk or else from libseccomp, then kept there. Raises as ``compile`` does."""
    profile = repr(seccomp).encode()
    name = source_hash(_FORMAT, profile).hex()
    try:
        place = _open_place()
    except OSError:
        place = -1
    try:
        found = _load(place, name, profile) if place >= 0 else None
        if found is None:
            from ociworks.runtime.seccomp.compiler import compile  # noqa: A004

            found = compile(seccomp)
            if place >= 0:
                _store(place, name, profile, found)
        return found
    finally:
        if place >= 0:
            os.close(place)


def _open_place() -> int:
    """The directory, made when it is missing. OSError when it cannot be had, or is not ours alone."""
    root = default_root()
    place = f"{root}/{_DIRECTORY}"
    try:
        fd = os.open(place, _PLACE)
    except FileNotFoundError:
        os.makedirs(root, mode=0o700, exist_ok=True)
        os.mkdir(place, 0o700)
        fd = os.open(place, _PLACE)
    try:
        _must_be_ours(os.fstat(fd), 0o077)
        _check(root)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check(root: str) -> None:
    from ociworks.errors import ContainerError

    try:
        check_root(root)
    except ContainerError as error:
        raise PermissionError(1, str(error)) from error


def _must_be_ours(info: os.stat_result, closed: int) -> None:
    if info.st_uid != os.geteuid() or info.st_mode & closed:
        raise PermissionError(1, "not ours alone")


def _load(place: int, name: str, profile: bytes) -> CompiledFilter | None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
        with open(fd, "rb") as stream:
            info = os.fstat(fd)
            _must_be_ours(info, 0o077)
            if not stat.S_ISREG(info.st_mode) or info.st_size > _LARGEST:
                return None
            return _parse(stream.read(_LARGEST), profile)
    except (OSError, ValueError):
        return None


def _parse(raw: bytes, profile: bytes) -> CompiledFilter | None:
    """A file is a line of numbers, then libseccomp's path, the makers, the profile and the program. ValueError."""
    head, _, body = raw.partition(b"\n")
    numbers = [int(word) for word in head.split(b" ") if word.isdigit()]  # trusted: digits, of a file of ours
    version, flags, listener, *sizes = numbers
    if version != _FORMAT or len(sizes) != 4 or sum(sizes) != len(body):
        return None
    parts = []
    for size in sizes:
        parts.append(body[:size])
        body = body[size:]
    library, makers, known, program = parts
    if known != profile or makers != _makers(os.fsdecode(library)):
        return None
    return CompiledFilter(program=program, flags=flags, needs_listener=bool(listener))


def _makers(library: str) -> bytes:
    """Who compiles: libseccomp and our own files. OSError when one is not there."""
    own = os.path.dirname(__file__)
    facts = [os.uname().machine]
    for path in (library, *(f"{own}/{module}.py" for module in _OURS)):
        info = os.stat(path)
        facts.append(f"{info.st_dev}:{info.st_ino}:{info.st_mtime_ns}:{info.st_size}")
    return " ".join(facts).encode()


def _store(place: int, name: str, profile: bytes, compiled: CompiledFilter) -> None:
    """Keep a filter; that it cannot be kept is no error."""
    library = _library()
    if not library:
        return
    temporary = f".{name}.{os.getpid()}"
    try:
        if len(known := os.listdir(place)) >= _MOST:
            for each in known:
                os.unlink(each, dir_fd=place)
        parts = (os.fsencode(library), _makers(library), profile, compiled.program)
        numbers = (_FORMAT, compiled.flags, 1 if compiled.needs_listener else 0, *map(len, parts))
        head = " ".join(str(number) for number in numbers)
        raw = head.encode() + b"\n" + b"".join(parts)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=place), "wb") as stream:
            stream.write(raw)
        os.rename(temporary, name, src_dir_fd=place, dst_dir_fd=place)
    except OSError:
        return


def _library() -> str:
    """The file of the libseccomp that this process has loaded; empty when that cannot be told."""
    with open("/proc/self/maps", "rb") as stream:
        for line in stream:
            if b"/libseccomp.so" in line:
                return os.fsdecode(line.split(None, 5)[5].rstrip(b"\n"))
    return ""
