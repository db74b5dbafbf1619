"""A gRPC server of its own for the service, on a Unix socket that nobody else can reach or take.

The socket is 0660 in a directory that only this user may write. Whoever holds ``SOCKET.lock`` may remove a socket that
nobody answers on, and nothing else than a socket is ever removed.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Final

import grpc

from ociworks.cri.service import CriService
from ociworks.errors import ConfigError, quote

__all__ = ["notify", "serving"]

logger = logging.getLogger(__name__)

MESSAGE_SIZE: Final = 16 << 20
"""Bytes of the largest request and answer, as the kubelet has it."""
CALLS: Final = 2000
"""Calls on one connection at a time."""
GRACE: Final = 5.0
"""Seconds that calls under way have to end when the server stops."""
_PATH_SIZE: Final = 107
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MESSAGE_SIZE),
    ("grpc.max_send_message_length", MESSAGE_SIZE),
    ("grpc.max_concurrent_streams", CALLS),
    ("grpc.so_reuseport", 0),
)


@contextmanager
def serving(service: CriService, path: str) -> Iterator[None]:
    """Serve on the socket ``path`` while the block runs; calls under way then have a few seconds to end.

    ConfigError when the path cannot be used: another server answers there, something else is there, its directory can
    be written by others, or it is too long.
    """
    with _claimed(path):
        server = grpc.server(ThreadPoolExecutor(16, thread_name_prefix="grpc"), options=_OPTIONS)
        service.add_to_server(server)
        _bind(server, path)
        server.start()
        logger.info("serving on %s", path)
        try:
            yield
        finally:
            ended = server.stop(GRACE)
            service.wind_down()
            ended.wait()
            service.close()
            with suppress(FileNotFoundError):
                os.unlink(path)


def notify(message: str) -> None:
    """Tell systemd (``READY=1``, ``STOPPING=1``) when it started this process, sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out, suppress(OSError):
        out.connect("\0" + address[1:] if address.startswith("@") else address)
        out.send(message.encode())


@contextmanager
def _claimed(path: str) -> Iterator[None]:
    """Hold the lock beside the socket, with nothing at ``path``."""
    if not path.startswith("/") or len(os.fsencode(path)) > _PATH_SIZE or "\0" in path:
        raise ConfigError(
            f"socket: expected an absolute path of at most {_PATH_SIZE} bytes, got {quote(path)}"
        )
    _private_directory(os.path.dirname(path))
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"socket: another server is on {path}") from None
        _remove_stale(path)
        yield
    finally:
        os.close(lock)


def _private_directory(path: str) -> None:
    os.makedirs(path, mode=0o700, exist_ok=True)
    info = os.stat(path)
    if info.st_uid not in (0, os.geteuid()) or info.st_mode & 0o022:
        raise ConfigError(f"socket: expected a directory that nobody else may write, got {path}")


def _remove_stale(path: str) -> None:
    """Remove a socket that nobody answers on. ConfigError when somebody does, or it is no socket."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"socket: expected a socket or nothing at {path}; remove what is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:
                os.unlink(path)
                return
    raise ConfigError(f"socket: somebody answers on {path} already")


def _bind(server: grpc.Server, path: str) -> None:
    """Nobody can connect in between: the file never had wider permissions."""
    before = os.umask(0o117)
    try:
        server.add_insecure_port(f"unix:{path}")
        os.chmod(path, 0o660)
    except (RuntimeError, OSError) as error:
        raise ConfigError(f"socket: {path} cannot be used: {quote(str(error))}") from error
    finally:
        os.umask(before)
