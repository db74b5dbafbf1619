"""Namespaces of a pod with a user namespace: made by a helper process, as only one with a single thread can.

The helper (``runtime/_init/pod.py``) is a bare interpreter that lives for one request.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from ociworks._linux import process
from ociworks.cri.sandbox.namespaces import KINDS
from ociworks.cri.sandbox.options import IdMap, Sharing
from ociworks.cri.sandbox.pause import Holder
from ociworks.errors import PodError
from ociworks.runtime import _sealed
from ociworks.runtime._init import wire

__all__ = ["made"]

_MODULE: Final = "ociworks.runtime._init.pod"


@contextmanager
def made(sharing: Sharing, holder: Holder | None) -> Iterator[Mapping[str, int]]:
    """Make a pod's user namespace and the others in it: name → descriptor. They go when nobody has pinned them then.

    With a ``holder`` there is a process namespace too, whose process waits at the holder's gate. Raises PodError.
    """
    names = [name for name, kind in KINDS.items() if kind & sharing.private or (name == "pid" and holder)]
    ours, gate = socket.socketpair()
    helper, control = _sealed.start(_MODULE)
    fds: list[int] = []
    try:
        with ours, gate, socket.socket(fileno=control) as channel:
            passed = holder.gate if holder else gate
            wire.send_frame(channel, _request(sharing, holder, names), (passed.fileno(),))
            gate.close()
            pid, fds = _answer(channel, len(names))
            if holder:
                holder.pid = pid
            yield dict(zip(names, fds, strict=True))
    finally:
        wire.close_all(fds)
        with suppress(ChildProcessError):
            os.waitpid(helper, 0)


def _request(sharing: Sharing, holder: Holder | None, names: Sequence[str]) -> dict[str, object]:
    return {
        "uid_map": _lines(sharing.uids),
        "gid_map": _lines(sharing.gids),
        "make": sharing.private & ~process.CLONE_NEWUSER,
        "names": tuple(names),
        "program": holder.program if holder else b"",
    }


def _answer(channel: socket.socket, count: int) -> tuple[int, list[int]]:
    kind, body, fds = wire.receive(channel, count)
    if kind == wire.SPAWNED and len(fds) == count:
        return wire.unpack_number(body), fds
    wire.close_all(fds)
    if kind != wire.FAILED:
        raise PodError("user namespace: the helper ended without an answer")
    _, _, step, text, path = wire.unpack_failure(body)
    raise PodError(f"{step}: {text}{f': {path}' if path else ''}")


def _lines(maps: Sequence[IdMap]) -> str:
    return "".join(f"{inside} {outside} {length}\n" for inside, outside, length in maps)
