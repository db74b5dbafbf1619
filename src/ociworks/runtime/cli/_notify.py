"""Tell whoever started us (``NOTIFY_SOCKET``, sd_notify(3)) that a container is ready, as its program says it is.

The container gets a directory of its state at ``/run/notify`` and the name of the socket in it; the first ``READY=``
that is sent there goes on to the host's socket, with the pid to watch. Whatever else a container says goes nowhere.
"""

from __future__ import annotations

import array
import contextlib
import logging
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import attrs

from ociworks.errors import InvalidSpec, Problem
from ociworks.runtime import Container, Runtime
from ociworks.runtime.cli._debug import Told
from ociworks.runtime.cli._log import Log
from ociworks.runtime.seams import HostStep, Subject
from ociworks.spec import Bundle
from ociworks.spec.runtime import Mount

__all__ = ["Notified", "forward", "listening", "runtime", "start", "telling"]

_log = logging.getLogger(__name__)
VARIABLE: Final = "NOTIFY_SOCKET"
_INSIDE: Final = "/run/notify"
_DIRECTORY: Final = "notify"
_NAME: Final = "notify.sock"
_LARGEST: Final = 4096
_PATIENCE: Final = 30_000
"""Milliseconds for the host to take what it was told."""


class Notified(Runtime):
    """A runtime whose containers have a socket to say that they are ready."""

    caution: Callable[[str], None] = _log.warning
    """Hears of those that have none."""

    def edit_spec(self, bundle: Bundle, container_id: str) -> Bundle:
        """Show the directory of the socket, and say its name; others than our root could not reach it."""
        linux = bundle.spec.linux
        if linux is not None and any(each.type == "user" for each in linux.namespaces):
            self.caution(f"{VARIABLE}: a container in a user namespace cannot say that it is ready")
            return bundle
        process = bundle.spec.process
        if process is None:
            raise InvalidSpec([Problem("$.process", "a container to run needs it")])
        mount = Mount(
            destination=_INSIDE,
            source=os.path.join(self.root, container_id, _DIRECTORY),
            type="bind",
            options=("bind", "nosuid", "noexec", "nodev", "ro"),
        )
        process = attrs.evolve(process, env=(*process.env, f"{VARIABLE}={_INSIDE}/{_NAME}"))
        return bundle.replace(attrs.evolve(bundle.spec, process=process, mounts=(*bundle.spec.mounts, mount)))

    def host_steps(self, subject: Subject) -> Sequence[HostStep]:  # noqa: ARG002 - the same for all
        """Make the directory; it goes with the container."""
        return (HostStep(name="notify", do=_make_directory, at="cloned"),)


class _NotifiedAndTold(Notified, Told):
    """The same with ``--debug``."""


def runtime(root: str, log: Log, *, systemd_cgroup: bool) -> Runtime:
    """A runtime on a state root."""
    made: Notified
    if log.debugs:
        made = _NotifiedAndTold(root, log, systemd_cgroup=systemd_cgroup)
    else:
        made = Notified(root, systemd_cgroup=systemd_cgroup)
    made.caution = log.caution
    return made


def start(root: str, container: Container) -> None:
    """Start a container that nobody follows, and wait until it is ready or has ended."""
    pidfd = os.pidfd_open(container.pid)
    try:
        with listening(root, container.id) as channel:
            container.start()
            if channel is not None:
                forward(channel, container.pid, pidfd)
    finally:
        os.close(pidfd)


def _make_directory(subject: Subject) -> None:
    path = os.path.join(subject.directory, _DIRECTORY)
    os.mkdir(path)
    os.chmod(path, 0o755)  # noqa: S103 - whatever the umask is: others look into it from inside


@contextlib.contextmanager
def listening(root: str, container_id: str) -> Iterator[socket.socket | None]:
    """The container's socket; None when it was made without a place for one, or nobody is to be told."""
    place = _place(root, container_id) if os.environ.get(VARIABLE) else -1
    if place < 0:
        yield None
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            path = f"/proc/self/fd/{place}/{_NAME}"  # the whole path may be too long for an address
            with contextlib.suppress(FileNotFoundError):  # of a start that was killed
                os.unlink(_NAME, dir_fd=place)
            channel.bind(path)
            os.chmod(path, 0o777)  # noqa: S103 - whoever the program is may send
            yield channel
    finally:
        os.close(place)


def _place(root: str, container_id: str) -> int:
    try:
        return os.open(
            f"{root}/{container_id}/{_DIRECTORY}", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        )
    except FileNotFoundError:
        return -1


def forward(channel: socket.socket, main: int, pidfd: int) -> None:
    """Wait until the container is ready, and tell the host to watch ``main``; or until it has ended."""
    poller = select.poll()
    poller.register(channel, select.POLLIN)
    poller.register(pidfd, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poller.poll()}
        if channel.fileno() in ready:
            line = _ready(channel.recv(_LARGEST))
            if line:
                _tell(line, main)
                return
        elif pidfd in ready:
            return


@contextlib.contextmanager
def telling(root: str, container: Container, pidfd: int) -> Iterator[None]:
    """In this block the host is told when the container is ready, to watch this process."""
    with listening(root, container.id) as channel:
        if channel is None:
            yield
            return
        waiting = threading.Thread(target=forward, args=(channel, os.getpid(), pidfd), daemon=True)
        waiting.start()
        yield
        waiting.join()


def _ready(said: bytes) -> bytes:
    return next((line for line in said.split(b"\n") if line.startswith(b"READY=")), b"")


def _tell(line: bytes, main: int) -> None:
    """Each in a message of its own; the end of the last one's pipe says that all were read (sd_notify_barrier(3))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as host, contextlib.suppress(OSError):
        host.connect(_address(os.environ[VARIABLE]))
        host.send(line + b"\n")
        host.send(b"MAINPID=%d\n" % main)
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [writer]).tobytes())]
            host.sendmsg([b"BARRIER=1"], rights)
            os.close(writer)
            writer = -1
            poller = select.poll()
            poller.register(reader, 0)
            poller.poll(_PATIENCE)
        finally:
            os.close(reader)
            if writer >= 0:
                os.close(writer)


def _address(name: str) -> str:
    return "\0" + name[1:] if name.startswith("@") else name
