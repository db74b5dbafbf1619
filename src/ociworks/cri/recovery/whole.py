"""The order of a recovery: records first, containers before their pods, then what no record knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ociworks.cri.recovery.containers import recover_containers
from ociworks.cri.recovery.leftovers import remove_leftovers
from ociworks.cri.recovery.pods import recover_pods
from ociworks.cri.recovery.report import Report

if TYPE_CHECKING:
    from ociworks.cri.node import Node

__all__ = ["recover"]


def recover(node: Node) -> Report:
    """Bring together what is recorded and what is there, while nobody asks for anything yet.

    Raises StoreError when the records cannot be read; everything else is in the report.
    """
    report = Report()
    recover_containers(node, report)
    recover_pods(node, report)
    remove_leftovers(node, report)
    return report
