"""``create`` for what it is called for mostly: what :meth:`Runtime.create` does with ``detach=True``, and no more.

A command that makes one container and ends has no use for what a Runtime keeps, so it does not load that. Both plan
with the same planner, ask the same launcher, and write the same record.
"""

from __future__ import annotations

import errno
import os

from ociworks._values import evolve
from ociworks.errors import ContainerExists, CreateFailed, LauncherError
from ociworks.runtime import state
from ociworks.runtime._making import record_of, request_for
from ociworks.runtime._progress import Follower
from ociworks.runtime._root import check_root
from ociworks.runtime.cli import _create
from ociworks.runtime.plan.build import build
from ociworks.runtime.seccomp.stored import compile_once
from ociworks.spec import _config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ociworks.runtime._points import Points
    from ociworks.runtime.cli._call import Call
    from ociworks.runtime.launcher import Launcher, Spawned
    from ociworks.runtime.plan import Plan
    from ociworks.runtime.plan.ops import Op
    from ociworks.spec._config import Loaded

__all__ = ["make"]

_ASKING: Final = frozenset({"network_devices", "reach", "seccomp_listener"})
"""Operations that wait for the caller (``_points``)."""


def make(call: Call) -> int:
    """Make a container that is nobody's child but the nearest subreaper's. Raises what ``Runtime.create`` raises."""
    loaded = _granted(call, _load(call.flags.text("bundle") or "."))
    _create.check_terminal(call, loaded.spec, detach=True)
    root = call.root
    planned = build(
        loaded,
        call.container_id,
        detached=True,
        options=_create.run_options(call),
        compiler=compile_once,
    )
    _prepare(root)
    launcher = call.launcher()
    try:
        spawned = _spawn(root, launcher, planned)
        try:
            _until_created(call, root, planned, spawned, loaded.raw)
            launcher.release(planned.container_id)
        except BaseException:
            _undo(call, root, launcher, planned)
            raise
        finally:
            spawned.close()
    finally:
        launcher.close()
    return 0


def _load(path: str) -> Loaded:
    try:
        return _config.load(_absolute(path))
    except FileNotFoundError:
        raise ValueError("JSON specification file config.json not found") from None


def _granted(call: Call, loaded: Loaded) -> Loaded:
    spec = _create.granted(call, loaded.spec)
    if spec is loaded.spec:
        return loaded
    from ociworks.spec import to_json

    return evolve(loaded, spec=spec, raw=to_json(spec))


def _absolute(path: str) -> str:
    """As :class:`~ociworks.spec.Bundle` has it, which is by ``pathlib`` where a path is not plain."""
    if path.startswith("/") and not {"", "."} & set(path[1:].split("/")):
        return path
    from pathlib import Path

    return str(Path(path).absolute())


def _prepare(root: str) -> None:
    """The state root, ours and without what nobody is making any more."""
    os.makedirs(root, mode=0o700, exist_ok=True)
    check_root(root)
    if any(name.startswith("@") for name in os.listdir(root)):
        from ociworks.runtime.shim.debris import sweep_debris

        sweep_debris(root)


def _spawn(root: str, launcher: Launcher, planned: Plan) -> Spawned:
    request = request_for(planned, os.path.join(root, planned.container_id), ephemeral=False)
    try:
        return launcher.spawn(request, (0, 1, 2), passed=planned.passed)
    except CreateFailed as error:
        if error.errno == errno.EEXIST and error.path == request.claim:
            raise ContainerExists(f"container {planned.container_id} exists already in {root}") from error
        raise


def _until_created(call: Call, root: str, planned: Plan, spawned: Spawned, raw: bytes) -> None:
    """Follow the first process until it waits to be started; write down that it does, and tell who wants to know."""
    follower = Follower(spawned, _points(planned, spawned.pid))
    try:
        if not follower.until_waiting():
            raise CreateFailed("the first process ended before it was ready", step="init")
        state.save(root, record_of(planned, spawned.pid), raw)
        if follower.console is not None:
            from ociworks.runtime.cli import _tty

            _tty.send_console(call.flags.text("console-socket"), follower.console)
        _create.tell(call, spawned.pid)
    finally:
        if follower.console is not None:
            follower.console.close()


def _points(planned: Plan, pid: int) -> Points | None:
    """What is to be done when the first process asks for it; most never do."""
    if not any(op.name in _ASKING or _asks_to_map(op) for op in planned.operations):
        return None
    from ociworks.runtime._points import points

    return points(planned.spec, planned.container_id, planned.bundle, pid)


def _asks_to_map(op: Op) -> bool:
    given = op.args[-1] if op.name == "bind" else None
    return isinstance(given, tuple) and given[0] == "ask"


def _undo(call: Call, root: str, launcher: Launcher, planned: Plan) -> None:
    """Remove everything, after which the hooks of the end are run."""
    try:
        launcher.remove(planned.container_id)
    except LauncherError:
        from ociworks.runtime import _ending

        group, rdt = planned.cgroup, planned.resctrl
        own = rdt.remove if rdt is not None else ()
        _ending.sweep(root, planned.container_id, group.directories, group.shared, own)
    if planned.spec.hooks is not None and planned.spec.hooks.poststop:
        from ociworks.runtime._hooks import run_stopped

        run_stopped(planned.spec, planned.container_id, planned.bundle, call.log.caution)
