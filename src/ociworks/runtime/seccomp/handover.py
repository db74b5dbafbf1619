"""Gives an agent the descriptor of a filter that asks it (runtime-spec config-linux.md, Container Process State)."""

from __future__ import annotations

import array
import os
import socket
from typing import TYPE_CHECKING, Final

import attrs

from ociworks.errors import CreateFailed, quote
from ociworks.spec import to_json
from ociworks.spec.runtime import ContainerProcessState

if TYPE_CHECKING:
    from ociworks.spec.runtime import Seccomp, State

__all__ = ["hand_over"]

_PATIENCE: Final = 10.0
"""Seconds for an agent to take a few kilobytes."""


def hand_over(filtered: Seccomp, state: State, pid: int, listener: int) -> None:
    """Send the descriptor, which is closed, with the state of the process ``pid``, to the filter's ``listenerPath``.

    Raises CreateFailed when nobody takes it: the process must not go on then.
    """
    told = ContainerProcessState(
        oci_version=state.oci_version,
        fds=("seccompFd",),
        pid=pid,
        metadata=filtered.listener_metadata,
        state=attrs.evolve(state, pid=state.pid or pid),
    )
    path = filtered.listener_path or ""
    try:
        _send(path, to_json(told), listener)
    except OSError as error:
        raise CreateFailed(
            f"failed to connect with seccomp agent: nobody takes the listener at {quote(path)}: "
            f"{error.strerror or error}",
            step="seccomp",
            errno=error.errno or 0,
            path=path,
        ) from error
    finally:
        os.close(listener)


def _send(path: str, raw: bytes, listener: int) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.settimeout(_PATIENCE)
        channel.connect(path)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]).tobytes())]
        sent = channel.sendmsg([raw], rights)
        if sent < len(raw):  # an empty rest would still be sent, and fail when the agent has what it needs
            channel.sendall(raw[sent:])
