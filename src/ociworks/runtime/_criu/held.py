"""Restores a container that is held by a shim (``shim.restored``): it outlives us, with its log and its exit status."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, Final

from ociworks.errors import ContainerExists, CreateFailed
from ociworks.runtime import _shim
from ociworks.runtime._criu.running import Making, timely
from ociworks.runtime._making import record_of, request_for
from ociworks.runtime.shim.restored import CRIU
from ociworks.spec import to_json

if TYPE_CHECKING:
    from ociworks.runtime._host import Host
    from ociworks.runtime.checkpoint import RestoreOptions
    from ociworks.runtime.detach import Detach
    from ociworks.runtime.launcher import Spawned
    from ociworks.runtime.plan import Plan
    from ociworks.runtime.state import Record

__all__ = ["restore_held"]

_EEXIST: Final = 17


def restore_held(host: Host, planned: Plan, options: RestoreOptions, detach: Detach) -> Record:
    """Have a shim made that has criu restore a container. Raises as :func:`running.restore`; nothing is left then."""
    directory = os.path.join(host.directory(), planned.container_id)
    making = Making(planned, options, directory)
    with _shim.Making(host, planned, detach) as shim:
        spawned = None
        host.hold(planned)
        try:
            request = _request(planned, making, shim.settings(record_of(planned, 0)))
            spawned = _restored(host, making, request, shim, detach)
            host.let_go(planned.container_id)
            record = record_of(planned, spawned.pid)
            host.save(record, to_json(planned.spec))
            shim.keep(spawned, making.console)
        except BaseException as error:
            _undo(host, planned, shim, spawned)
            if isinstance(error, CreateFailed):
                raise _explained(host, planned, making, error) from error
            raise
        finally:
            if making.console is not None:
                making.console.close()
            if spawned is not None:
                spawned.close()
    return record


def _request(planned: Plan, making: Making, settings: dict[str, Any]) -> dict[str, Any]:
    made = request_for(planned, making.directory, ephemeral=False, shim=settings).encode()
    own = {"ops": (), "gate": "", "argv": making.command, "env": dict(os.environ), "root": making.root}
    return {**made, **own}


def _restored(
    host: Host, making: Making, request: dict[str, Any], shim: _shim.Making, detach: Detach
) -> Spawned:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, making.files() as files:
        with theirs:
            given = (theirs.fileno(), *files)
            restoring = host.reaper().restore({**request, "given": len(given)}, (*given, *shim.fds))
        try:
            with timely("restore", making.id, making.options) as until:
                response = making.ask(ours, until)
            ours.close()
            spawned = host.reaper().restored(restoring, making.id, detach.start_timeout)
        except BaseException:
            _shim.let_go(restoring, detach.start_timeout)
            restoring.close()
            raise
    if not response.success:
        raise making.failed()
    return spawned


def _undo(host: Host, planned: Plan, shim: _shim.Making, spawned: Spawned | None) -> None:
    shim.undo(spawned)
    host.leave(planned)


def _explained(host: Host, planned: Plan, making: Making, error: CreateFailed) -> Exception:
    if error.errno == _EEXIST and error.path == making.directory:
        return ContainerExists(f"container {planned.container_id} exists already in {host.root}")
    return making.failed() if error.path == CRIU else error
