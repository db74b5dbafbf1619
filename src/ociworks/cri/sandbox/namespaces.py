"""Namespaces that need no process: made in a thread that ends at once, pinned by bind mounts (ADR 28).

A thread of its own may leave the namespaces of the others and take part in no further work; the one thing that it
cannot do is to make a user namespace, which :mod:`ociworks.cri.sandbox.pause` does in a process of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final

from attrs import frozen

from ociworks._linux import mount, process
from ociworks.cri.sandbox.sysctls import Setting
from ociworks.errors import PodError
from ociworks.runtime._init.network import bring_loopback_up

__all__ = ["KINDS", "Furniture", "enter_and_furnish", "make_and_furnish", "pin", "pin_of", "pins_in", "unpin"]

KINDS: Final[Mapping[str, int]] = {
    "net": process.CLONE_NEWNET,
    "ipc": process.CLONE_NEWIPC,
    "uts": process.CLONE_NEWUTS,
    "user": process.CLONE_NEWUSER,
    "pid": process.CLONE_NEWPID,
}
"""The file that pins a namespace → CLONE_NEW*."""


@frozen(kw_only=True)
class Furniture:
    """What new namespaces are given."""

    hostname: str = ""
    sysctls: tuple[Setting, ...] = ()


def make_and_furnish(
    private: int, furniture: Furniture, directory: str, then: Callable[[], None] | None = None
) -> None:
    """Make the namespaces ``private`` (of net, ipc and uts) and pin them in ``directory``. PodError.

    ``then`` is called in them, at the end, and may leave further ones: the thread ends after it.
    """

    def work() -> None:
        process.unshare(private)
        _furnish(private, furniture)
        for name in _names(private):
            fd = os.open(f"/proc/thread-self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                pin(directory, name, fd)
            finally:
                os.close(fd)
        if then is not None:
            then()

    if private or then is not None:
        _in_a_thread_of_its_own(work)


def enter_and_furnish(namespaces: Mapping[str, int], furniture: Furniture) -> None:
    """The same for namespaces that somebody made, by name and descriptor. PodError."""
    private = sum(KINDS[name] for name in namespaces if name in ("net", "ipc", "uts"))

    def work() -> None:
        for name in _names(private):
            process.setns(namespaces[name], KINDS[name])
        _furnish(private, furniture)

    if private:
        _in_a_thread_of_its_own(work)


def pin(directory: str, name: str, fd: int) -> None:
    """Bind the namespace behind a descriptor to a new file; it stays until :func:`unpin`."""
    place = os.open(
        f"{directory}/{name}", os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o400
    )
    try:
        tree = mount.clone_tree(fd, "")
        try:
            mount.attach(tree, place)
        finally:
            os.close(tree)
    finally:
        os.close(place)


def pin_of(directory: str, name: str, pid: int) -> None:
    """The same for a namespace of a process."""
    fd = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        pin(directory, name, fd)
    finally:
        os.close(fd)


def pins_in(directory: str) -> Mapping[str, str]:
    """The namespaces that are pinned there now: name → path."""
    found = {}
    for name in KINDS:
        place = f"{directory}/{name}"
        with suppress(FileNotFoundError):
            if os.stat(place, follow_symlinks=False).st_dev != os.stat(directory).st_dev:
                found[name] = place
    return found


def unpin(directory: str) -> None:
    """Let go of every namespace in it: without a process, they end. Again is harmless."""
    for place in pins_in(directory).values():
        mount.unmount(place, mount.MNT_DETACH)


def _furnish(private: int, furniture: Furniture) -> None:
    if private & process.CLONE_NEWNET:
        bring_loopback_up()
    if private & process.CLONE_NEWUTS and furniture.hostname:
        process.set_hostname(furniture.hostname)
    for name, value in furniture.sysctls:
        _write(f"/proc/sys/{name}", value)


def _write(name: str, value: str) -> None:
    """Kernel settings are those of the namespaces of the thread that opens the file."""
    fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.write(fd, value.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from None
    finally:
        os.close(fd)


def _names(private: int) -> Iterable[str]:
    return (name for name, kind in KINDS.items() if kind & private)


def _in_a_thread_of_its_own(work: Callable[[], None]) -> None:
    """Run it in a thread that ends afterwards, whatever its namespaces are then."""
    failure: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits
            failure.append(error)

    thread = threading.Thread(target=guarded, name="ociworks-pod-namespaces")
    thread.start()
    thread.join()
    if failure and isinstance(failure[0], OSError):
        error = failure[0]
        raise PodError(f"namespaces: {error.filename or 'unshare'}: {error.strerror}") from error
    if failure:
        raise failure[0]
