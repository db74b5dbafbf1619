"""Pods that are recorded: those cut short, and those whose namespaces went with the machine's last start."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from attrs import evolve

from ociworks.cri.recovery.leftovers import is_id
from ociworks.cri.recovery.parallel import for_each
from ociworks.cri.recovery.report import Report
from ociworks.cri.sandbox.messages import config_of
from ociworks.cri.sandbox.namespaces import KINDS, pins_in
from ociworks.cri.sandbox.options import sharing
from ociworks.errors import NetworkError, quote

if TYPE_CHECKING:
    from ociworks.cri.node import Node
    from ociworks.cri.records import SandboxRecord

__all__ = ["recover_pods"]


def recover_pods(node: Node, report: Report) -> None:
    """Bring every recorded pod in order. The kubelet stops and removes those that are not ready."""
    for_each(node.store.sandboxes.all(), lambda record: _recover(node, record, report))


def _recover(node: Node, record: SandboxRecord, report: Report) -> None:
    with report.each(f"pod {quote(record.id)}"):
        if not _is_ours(node, record):
            node.store.sandboxes.remove(record.id)
            report.fail(f"pod {quote(record.id)}: not in our directories; its record is forgotten")
        elif record.phase == "creating":
            _undo(node, record, report)
        elif record.phase == "removing":
            node.sandboxes.remove(record.id)
            report.note(report.finished, f"pod {record.id}")
        elif record.phase == "ready" and not _is_whole(record):
            _end(node, record)
            report.note(report.not_ready, f"pod {record.id}")


def _is_ours(node: Node, record: SandboxRecord) -> bool:
    """Whether what is recorded of its places is what we would have recorded: they are unmounted and removed."""
    return is_id(record.id) and record.pins == f"{node.config.state}/sandboxes/{record.id}/ns"


def _undo(node: Node, record: SandboxRecord, report: Report) -> None:
    """What cannot be undone, since plugins fail, stays as a pod that is not ready, to be tried again."""
    try:
        node.sandboxes.unmake(record)
    except NetworkError:
        _end(node, record)
        raise
    node.store.sandboxes.remove(record.id)
    report.note(report.undone, f"pod {record.id}")


def _end(node: Node, record: SandboxRecord) -> None:
    node.store.sandboxes.update(record.id, lambda now: evolve(now, phase="notready"))


def _is_whole(record: SandboxRecord) -> bool:
    """Whether its namespaces are pinned. Without a directory of its own it is from before the machine's start."""
    own = sharing(config_of(record).linux.security_context.namespace_options)
    wanted = {name for name, kind in KINDS.items() if kind & own.private}
    return os.path.isdir(record.pins) and wanted <= set(pins_in(record.pins))
