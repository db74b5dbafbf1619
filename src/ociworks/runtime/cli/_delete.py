"""``delete``."""

from __future__ import annotations

from ociworks.runtime import _ending, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.runtime.cli._call import Call

__all__ = ["main"]


def main(call: Call) -> int:
    """Remove a container that has ended or never began, or any with ``--force``."""
    root, name, force = call.root, call.container_id, call.flags.flag("force")
    try:
        record = state.load(root, name)
    except LookupError:
        if not force:
            raise
        return _remains(root, name)
    if call.custom is not None or record.scope or state.has(root, name, "shim.json"):
        container = call.container()
        container.delete(force=force or container.status == "created")
        return 0
    status = state.status(root, record)
    if status in ("running", "paused") and not force:
        from ociworks.errors import IllegalTransition

        raise IllegalTransition(f"cannot delete container {name} that is not stopped: {status}")
    if status != "stopped":
        _ending.kill(record)
    try:
        _remove(call, record)
    except LookupError:  # somebody else was faster
        if not force:
            raise
    return 0


def _remove(call: Call, record: state.Record) -> None:
    root = call.root
    hooks = "poststop" in record.hooks
    spec = state.load_config(root, record.id) if hooks else None
    with state.Lock(root, record.id):
        _ending.sweep(root, record.id, state.own_groups(record), record.shared_cgroups, record.resctrl)
    if spec is not None:
        call.run_stopped(record, spec)


def _remains(root: str, name: str) -> int:
    """A directory without a state: somebody is making the container, or died while making it."""
    try:
        with state.Lock(root, name):
            _ending.sweep(root, name, (), ())
    except LookupError:
        return 0
    return 0
