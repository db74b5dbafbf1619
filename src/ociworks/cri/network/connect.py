"""Connect to a port inside a pod: never in this process's own namespace, never to a name (CR-03)."""

from __future__ import annotations

import errno
import os
import socket

from ociworks.cri.network import _namespace
from ociworks.errors import InvalidRequest, NetworkError

__all__ = ["connect_in"]


def connect_in(netns_fd: int, port: int, *, timeout: float = 10, own: bool = False) -> socket.socket:
    """A blocking TCP connection to ``port`` of the pod whose network namespace is behind ``netns_fd``.

    127.0.0.1 is tried first, then ::1. A thread enters the namespace for it and ends; the connection stays there.
    ``own`` says that the namespace of this process is meant, as with a pod on the host's network; it is refused
    otherwise. ``timeout`` is in seconds, for each of the two. Raises InvalidRequest for a port that is not in 1 to
    65535, and NetworkError when nobody listens or the descriptor is none of a network namespace.
    """
    if type(port) is not int or not 1 <= port <= 65535:
        raise InvalidRequest(f"port: expected 1 to 65535, got {port!r}")
    _namespace.check(netns_fd)
    if _namespace.is_own(netns_fd) and not own:
        raise NetworkError(f"port {port}: the pod has no network of its own")
    return _namespace.inside(netns_fd, lambda: _connect(port, timeout))


def _connect(port: int, timeout: float) -> socket.socket:
    said: list[str] = []
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            return _connected(family, address, port, timeout)
        except OSError as error:
            said.append(f"{address}: {error.strerror or error}")
    raise NetworkError(f"cannot connect to port {port} in the pod: {'; '.join(said)}")


def _connected(family: socket.AddressFamily, address: str, port: int, timeout: float) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.settimeout(timeout)
        made.connect((address, port))
        if made.getsockname() == made.getpeername():  # nobody listens, and the kernel gave us the port itself
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        made.settimeout(None)
    except BaseException:
        made.close()
        raise
    return made
