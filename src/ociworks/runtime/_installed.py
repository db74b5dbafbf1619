"""Whether somebody else could change the code that runs as root (ATTACKS RT-02).

A virtual environment, or a checkout, that an ordinary user may write hands that user root as soon as root starts a
container with it. Sealing the interpreter does not help there: what is sealed may have been changed before.
"""

from __future__ import annotations

import os
import stat
import sys

from ociworks.runtime._same import kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["check_installation"]

UNSAFE = "OCIWORKS_UNSAFE_INSTALLATION"
"""The variable that, set to 1, lets root go on all the same."""
_ALL_USERS = b"         0          0 4294967295\n"


@kept(4)
def check_installation(interpreter: str, package: str) -> None:
    """Raise LauncherError when another user may write the interpreter, the library or this package; as root only.

    For an ordinary user, and for root in a user namespace, there is nobody less privileged to be afraid of.
    """
    if os.geteuid() != 0 or not _is_host_root() or os.environ.get(UNSAFE) == "1":
        return
    own = _own_directories(interpreter, package)
    for path in _code(interpreter, package, own):
        try:
            found = os.stat(path)
        except FileNotFoundError:
            continue  # a cached module that was never written
        if found.st_uid != 0 or _is_open(found, is_above=path not in own):
            from ociworks.errors import LauncherError, quote

            raise LauncherError(
                f"{quote(path)}: expected code that only root may write, found owner {found.st_uid}, group "
                f"{found.st_gid}, mode {stat.S_IMODE(found.st_mode):o}: whoever may write it would be root with the "
                f"next container; install it elsewhere, or set {UNSAFE}=1"
            )


def _is_open(found: os.stat_result, *, is_above: bool) -> bool:
    """Whether others may write; in a sticky directory above ours they cannot exchange what is root's."""
    if is_above and found.st_mode & stat.S_ISVTX:
        return False
    return bool(found.st_mode & (stat.S_IWOTH if found.st_gid == 0 else stat.S_IWGRP | stat.S_IWOTH))


def _is_host_root() -> bool:
    with open("/proc/self/uid_map", "rb") as stream:  # trusted: the kernel's
        return stream.read(len(_ALL_USERS) + 1) == _ALL_USERS


def _code(interpreter: str, package: str, own: Collection[str]) -> Iterator[str]:
    """The interpreter, every module file that the helper or this process loads, and each directory above them."""
    directories = set(own)
    for path in own:
        directories.update(_above(path), _above(os.path.realpath(path)))
    yield from sorted(directories)
    yield interpreter
    yield from _loaded(os.path.dirname(os.__file__))
    for directory in own:
        if directory.startswith(package):
            with os.scandir(directory) as entries:
                yield from (entry.path for entry in entries if entry.name.endswith((".py", ".pyc", ".pack")))


def _own_directories(interpreter: str, package: str) -> Collection[str]:
    library = os.path.dirname(os.__file__)
    sources = [
        *(os.path.join(library, name) for name in ("", "encodings", "ctypes", "lib-dynload")),
        *(os.path.join(package, name) for name in ("", "_linux", "runtime", "runtime/_init")),
    ]
    wanted = [
        os.path.dirname(interpreter),
        *sources,
        *(os.path.join(path, "__pycache__") for path in sources),
    ]
    return [path for path in wanted if os.path.isdir(path)]


def _above(path: str) -> Iterator[str]:
    while path != "/":
        path = os.path.dirname(path)
        yield path


def _loaded(library: str) -> Iterator[str]:
    """The files of the standard library that this process has loaded; the helper loads some of them."""
    for module in tuple(sys.modules.values()):
        for name in ("__file__", "__cached__"):
            path = getattr(module, name, None)
            if isinstance(path, str) and path.startswith(library):
                yield path
