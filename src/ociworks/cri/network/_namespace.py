"""Network namespaces: pinned by descriptor, told apart, entered by a thread that ends there."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from ociworks._linux.process import CLONE_NEWNET, setns
from ociworks.errors import NetworkError

__all__ = ["bring_loopback_up", "check", "identity", "inside", "is_own", "opened"]

T = TypeVar("T")
_NS_GET_NSTYPE: Final = 0xB703
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
_OWN: Final = "/proc/thread-self/ns/net"


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A descriptor of the network namespace at ``path``. NetworkError when there is something else, or nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise NetworkError(f"{path}: expected a network namespace: {error.strerror}") from error
    try:
        check(fd)
        yield fd
    finally:
        os.close(fd)


def check(fd: int) -> None:
    """NetworkError when a descriptor is not one of a network namespace."""
    try:
        kind = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != CLONE_NEWNET:
        raise NetworkError("expected a network namespace, got another file")


def identity(fd: int) -> str:
    """What tells a namespace from every other one that exists."""
    info = os.fstat(fd)
    return f"{info.st_dev}:{info.st_ino}"


def is_own(fd: int) -> bool:
    """Whether it is the namespace of the calling thread, which is that of its process everywhere but in here."""
    here, there = os.stat(_OWN), os.fstat(fd)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def inside(fd: int, call: Callable[[], T]) -> T:
    """What ``call`` gives in the namespace ``fd``, on a new thread that is never used for anything else."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def enter() -> None:
        try:
            setns(fd, CLONE_NEWNET)
            outcome.append(call())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            failure.append(error)

    thread = threading.Thread(target=enter, name="ociworks-netns", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def bring_loopback_up(fd: int) -> None:
    """Bring the loopback interface of the namespace ``fd`` up, if it is not."""

    def bring_up() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            answer = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sh14x", b"lo", 0))
            flags = struct.unpack_from("16xh", answer)[0]
            if not flags & _IFF_UP:
                fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))

    inside(fd, bring_up)
