"""The network of a pod, held open, so that what its namespace's name comes to mean does not matter."""

from __future__ import annotations

import os
import socket
from typing import Self

from ociworks.cri.network.connect import connect_in
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import SandboxRecord
from ociworks.errors import PodStateError

__all__ = ["PodNetwork"]


class PodNetwork:
    """Opens it. PodStateError when the pod is not ready, or is on the host's network and ``host`` forbids that."""

    def __init__(self, record: SandboxRecord, *, host: bool) -> None:
        if record.phase != "ready":
            raise PodStateError(f"pod {record.id}: expected a ready pod, it is {record.phase}")
        options = api.PodSandboxConfig.FromString(record.config).linux.security_context.namespace_options
        self._own = options.network == api.NODE
        if self._own and not host:
            raise PodStateError(f"pod {record.id}: ports of the host's network are not forwarded here")
        path = "/proc/self/ns/net" if self._own else os.path.join(record.pins, "net")
        flags = os.O_RDONLY | os.O_CLOEXEC | (0 if self._own else os.O_NOFOLLOW)
        try:
            self._fd = os.open(path, flags)
        except OSError as error:
            raise PodStateError(f"pod {record.id}: its network is gone: {error.strerror}") from error

    def connect(self, port: int) -> socket.socket:
        """A connection to a port inside. NetworkError when nobody listens."""
        return connect_in(self._fd, port, own=self._own)

    def close(self) -> None:
        """Let go of it; again is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
