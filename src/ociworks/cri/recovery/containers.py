"""Containers that are recorded: the ends of those that were alive, and what was cut short."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from attrs import evolve

from ociworks.cri.recovery.leftovers import expel, is_id
from ociworks.cri.recovery.parallel import for_each
from ociworks.cri.recovery.report import Report
from ociworks.errors import ContainerError, ContainerNotFound, PodNotFound, quote
from ociworks.runtime import cgroups

if TYPE_CHECKING:
    from ociworks.cri.node import Node
    from ociworks.cri.records import ContainerRecord

__all__ = ["recover_containers"]


def recover_containers(node: Node, report: Report) -> None:
    """Bring every recorded container in order."""
    for_each(node.store.containers.all(), lambda record: _recover(node, record, report))


def _recover(node: Node, record: ContainerRecord, report: Report) -> None:
    with report.each(f"container {quote(record.id)}"):
        if not is_id(record.id):
            node.store.containers.remove(record.id)
            report.fail(f"container {quote(record.id)}: no ID of ours; its record is forgotten")
        elif record.phase == "creating":
            node.containers.unmake(record)
            report.note(report.undone, f"container {record.id}")
        elif record.phase == "removing" or not _has_pod(node, record):
            node.containers.remove(record.id)
            report.note(report.finished, f"container {record.id}")
        elif record.phase != "exited":
            _look(node, record, report)


def _look(node: Node, record: ContainerRecord, report: Report) -> None:
    """Watch one that was alive, or record its end. What its runtime cannot believe is set aside: it has ended, too."""
    try:
        node.monitor.resolve(record)
    except ContainerError as error:
        report.fail(f"container {record.id}: {error}")
        expel(node, record.handler, record.id, report)
        node.monitor.resolve(record)
        _remove_groups(node, record)
    if record.phase == "created":
        _note_start(node, record)


def _remove_groups(node: Node, record: ContainerRecord) -> None:
    """Remove the empty control groups of one whose runtime cannot tell them; a scope of systemd's goes by itself."""
    parent = node.store.sandboxes.get(record.sandbox_id).cgroup_parent
    if not parent.endswith(".slice"):
        planned = cgroups.plan(cgroups.detect(), f"{parent}/{record.id}", "", None, devices=False)
        cgroups.remove([path for path in planned.directories if os.path.isdir(path)])


def _note_start(node: Node, record: ContainerRecord) -> None:
    """Record the start of one that runs already: its server was killed between the two."""
    try:
        status = node.handlers.get(record.handler).get(record.id).status
    except ContainerNotFound:
        return
    with node.locks.hold(record.id), contextlib.suppress(PodNotFound):
        started = ("running",) if record.restored else ("running", "paused")
        if status in started and node.store.containers.get(record.id).phase == "created":
            now = time.time_ns()
            node.store.containers.update(record.id, lambda old: evolve(old, phase="running", started_at=now))


def _has_pod(node: Node, record: ContainerRecord) -> bool:
    try:
        node.store.sandboxes.get(record.sandbox_id)
    except PodNotFound:
        return False
    return True
