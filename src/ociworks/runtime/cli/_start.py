"""``start``."""

from __future__ import annotations

import os

from ociworks.runtime import state
from ociworks.runtime._gate import open_gate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.runtime.cli._call import Call

__all__ = ["main"]


def main(call: Call) -> int:
    """Let a created container run."""
    if os.environ.get("NOTIFY_SOCKET"):
        from ociworks.runtime.cli import _notify

        _notify.start(call.root, call.container())
        return 0
    root, record = call.root, call.record()
    if call.custom is not None:
        call.container().start()
        return 0
    with state.Lock(root, record.id):
        _refuse(state.status(root, record))
        failed = open_gate(root, record)
    if failed:
        from ociworks.runtime._progress import failure

        raise failure(failed)
    if "poststart" in record.hooks:
        _poststart(root, record)
    return 0


def _poststart(root: str, record: state.Record) -> None:
    """A failing hook stops the container."""
    from ociworks.runtime import _ending
    from ociworks.runtime._hooks import run_started

    try:
        run_started(state.load_config(root, record.id), record.id, record.bundle, record.pid)
    except BaseException:
        _ending.kill(record)
        raise


def _refuse(status: str) -> None:
    if status == "created":
        return
    from ociworks.errors import IllegalTransition

    if status == "stopped":
        raise IllegalTransition("cannot start a container that has stopped")
    if status == "running":
        raise IllegalTransition("cannot start an already running container")
    raise IllegalTransition(f"cannot start a container in the {status} state")
