"""Id maps: written from outside for a new user namespace; and namespaces that exist for their maps alone."""

from __future__ import annotations

import fcntl
import os

from ociworks._linux import process
from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

__all__ = [
    "become_root",
    "expect_maps",
    "finish_mapping",
    "open_namespace",
    "user_namespace",
    "write_file",
    "write_maps",
]

_EINVAL: Final = 22
_NS_GET_NSTYPE: Final = 0xB703
_PR_SET_PDEATHSIG: Final = 1
_SIGKILL: Final = 9
_MOST: Final = 1 << 16
"""Bytes; the kernel shows at most 340 ranges of 33."""


def finish_mapping(pid: int, pidfd: int, maps: tuple[Any, ...], mapped: tuple[int, int]) -> None:
    """Write the id maps of a new user namespace from outside and let the child go on, or end it."""
    try:
        write_maps(pid, *maps)
    except BaseException:
        os.close(mapped[1])
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)
        raise
    os.write(mapped[1], b"1")


def become_root() -> None:
    """Become root of the user namespace, where there is one; the identity of the program comes later."""
    try:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    except OSError as error:
        if error.errno != _EINVAL:
            raise


def open_namespace(path: str, kind: int) -> int:
    """Open a namespace's file once and prove that it is one of this kind."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        try:
            found = fcntl.ioctl(fd, _NS_GET_NSTYPE)
        except OSError:
            raise StepError("expected a namespace file", path, _EINVAL) from None
        if found != kind:
            raise StepError(f"expected a namespace of kind {kind:#x}, found {found:#x}", path, _EINVAL)
        if kind == process.CLONE_NEWNS:
            _refuse_host(fd, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _refuse_host(fd: int, path: str) -> None:
    """A mount namespace that is joined gets another root, which must not happen to the host's, nor to ours."""
    for name in ("/proc/self/ns/mnt", "/proc/1/ns/mnt"):
        try:
            host = os.stat(name)
        except (
            PermissionError
        ):  # of the first process, whom we may not see: we may not enter its namespaces either
            continue
        if os.path.samestat(host, os.fstat(fd)):
            raise StepError(
                "the host's mount namespace cannot be joined; a container without one names none",
                path,
                _EINVAL,
            )


def user_namespace(maps: tuple[str, str]) -> int:
    """A descriptor of a user namespace with these maps, made for it, or of the one that ``("", path)`` names."""
    uid_map, gid_map = maps
    if not uid_map:
        return open_namespace(gid_map, process.CLONE_NEWUSER)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid, pidfd = process.clone(process.CLONE_NEWUSER)
    if pid == 0:
        _hold(reader, writer)
    try:
        write_file(f"/proc/{pid}/gid_map", gid_map.encode())
        write_file(f"/proc/{pid}/uid_map", uid_map.encode())
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(writer)
        os.close(reader)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)


def _hold(reader: int, writer: int) -> None:
    """In the process that holds a namespace until it is open; never returns."""
    try:
        process.prctl(_PR_SET_PDEATHSIG, _SIGKILL)
        os.close(writer)
        os.read(reader, 1)
    finally:
        os._exit(0)


def expect_maps(context: object, uid_map: str, gid_map: str) -> None:  # noqa: ARG001 - operations share one signature
    """Prove that the user namespace which was joined has the maps that the configuration says."""
    for name, expected in (("uid_map", uid_map), ("gid_map", gid_map)):
        place = f"/proc/self/{name}"
        if _ranges(_read_file(place)) != _ranges(expected.encode()):
            raise StepError("the user namespace has other maps than the configuration", place, _EINVAL)


def _ranges(text: bytes) -> list[list[bytes]]:
    return sorted(line.split() for line in text.splitlines())


def _read_file(place: str) -> bytes:
    fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _MOST)
    finally:
        os.close(fd)


def write_maps(
    pid: int,
    uid_map: str,
    gid_map: str,
    deny_setgroups: bool,  # noqa: FBT001 - a plain tuple from the wire
    helpers: tuple[str, str] | None,
) -> None:
    """Write the maps of a process's user namespace, by the helper programs where we may not."""
    if deny_setgroups:
        write_file(f"/proc/{pid}/setgroups", b"deny")
    if helpers is not None:
        for helper, text in zip(helpers, (uid_map, gid_map), strict=True):
            _run_helper(helper, [str(pid), *text.split()])
        return
    write_file(f"/proc/{pid}/gid_map", gid_map.encode())
    write_file(f"/proc/{pid}/uid_map", uid_map.encode())


def write_file(path: str, value: bytes) -> None:
    """One write to a file of the kernel's."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)


def _run_helper(helper: str, arguments: Sequence[str]) -> None:
    """Newuidmap or newgidmap, by absolute path, with numbers only."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, writer, 2)]
        pid = os.posix_spawn(helper, [helper, *arguments], {}, file_actions=actions)
        os.close(writer)
        writer = -1
        said = os.read(reader, 4096)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)
    if status:
        text = said.decode("utf-8", "backslashreplace").strip()
        raise StepError(text or f"ended with status {os.waitstatus_to_exitcode(status)}", helper)
