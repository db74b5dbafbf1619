"""Detached containers for tests, and their shims as the outside sees them."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ociworks import spec
from ociworks.runtime import Container, Detach, OCIContainer, Runtime
from ociworks.runtime.attach import Attachment

__all__ = [
    "detached",
    "knock",
    "open_files",
    "parent",
    "read_until",
    "settled",
    "shim_of",
    "until_ended",
    "until_reaped",
]


@contextmanager
def detached(runtime: Runtime, bundle: spec.Bundle, script: str, **options: object) -> Iterator[Container]:
    """A created container with a shim, seen by another Runtime; removed at the end."""
    held = runtime.create("far", bundle, ["sh", "-c", script], detach=Detach(**options))  # type: ignore[arg-type]
    try:
        with Runtime(runtime.root) as other, other.get("far") as found:
            yield found
    finally:
        held.delete(force=True)


def read_until(attached: Attachment, wanted: bytes) -> bytes:
    """What is written until ``wanted`` has been."""
    data = b""
    while wanted not in data:
        chunk = attached.read(timeout=60)
        assert chunk is not None, data
        data += chunk.data
    return data


def parent(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])  # trusted: the kernel's


def shim_of(container: OCIContainer) -> int:
    """The pid of a container's shim."""
    shim = parent(container.pid)
    assert Path(f"/proc/{shim}/comm").read_text() == "ociworks-shim\n"
    return shim


def open_files(pid: int) -> list[str]:
    """What a process has open."""
    return sorted(os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))


def settled(container: Container, root: str) -> list[str]:
    """What a shim has open, when it has seen everything that was done to it before."""
    for _ in range(3):
        with knock(container, root) as channel:
            channel.send(b"x")
            assert channel.recv(1) == b""
    return open_files(shim_of(container))


def knock(container: Container, root: str) -> socket.socket:
    """A connection to a shim, with which nothing was said yet."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    place = os.open(f"{root}/{container.id}", os.O_PATH)
    try:
        channel.connect(f"/proc/self/fd/{place}/shim")
        channel.settimeout(60)
    finally:
        os.close(place)
    return channel


def until_ended(pid: int) -> None:
    """Wait for the end of a process that is not our child; a zombie has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        assert poller.poll(60_000), f"process {pid} is still there"
    finally:
        os.close(fd)


def until_reaped(pid: int) -> None:
    """Wait until a process that is not our child has ended and its parent has heard of it."""
    until_ended(pid)
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"process {pid} is a zombie"
