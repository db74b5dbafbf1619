"""What no record knows: containers of runtimes, bundles, roots, pods' directories, and their networks' addresses.

Only what lies in our own directories and has an ID of ours for a name is touched. An application's runtime may hold
containers of the application, too: there, ours are those whose bundle is in our directory.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from ociworks._linux.path import remove_tree
from ociworks.cri.recovery.quarantine import set_aside
from ociworks.cri.recovery.report import Report
from ociworks.cri.sandbox import files, groups, namespaces
from ociworks.errors import ContainerError, ContainerNotFound, InvalidRequest, MissingDependency, quote
from ociworks.runtime._shim import Shim

if TYPE_CHECKING:
    from ociworks.cri.node import Node
    from ociworks.runtime.protocol import OCIRuntime

__all__ = ["expel", "is_id", "remove_leftovers"]

_ID: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ALIVE: Final = ("creating", "created", "running", "removing")


def is_id(name: str) -> bool:
    """Whether it is an ID as we make them."""
    return _ID.fullmatch(name) is not None


def remove_leftovers(node: Node, report: Report) -> None:
    """Remove what no record knows. What is recorded as being made or removed is somebody else's matter."""
    containers = {record.id: record for record in node.store.containers.all()}
    pods = {record.id for record in node.store.sandboxes.all()}
    alive = {id for id, record in containers.items() if record.phase in _ALIVE}
    for name in node.handlers.names:
        _remove_from_runtime(node, name, alive, report)
    _remove_bundles(node, containers, report)
    for id in node.images.holders() - containers.keys():
        with report.each(f"root of container {quote(id)}"):
            node.images.release(id)
            report.note(report.removed, f"root of container {id}")
    _remove_pods(node, pods, report)
    with report.each("networks"):
        node.network.gc(pods)


def expel(node: Node, handler: str, id: str, report: Report) -> None:
    """Take a container away from a runtime of ours that cannot believe what is written of it; its shim ends it."""
    if not _is_our_own(node, handler):
        return
    root = node.handlers.get(handler).root
    for place in (root, f"{root}@shims"):
        with contextlib.suppress(ContainerError, OSError):
            Shim(place, id).leave()
        with contextlib.suppress(FileNotFoundError):
            report.fail(f"{place}/{id}: set aside as {set_aside(node.config.state, f'{place}/{id}')}")


def _remove_from_runtime(node: Node, handler: str, alive: set[str], report: Report) -> None:
    try:
        runtime = node.handlers.get(handler)
    except (MissingDependency, InvalidRequest):
        return
    for id in sorted(_ids(runtime.root) | _ids(f"{runtime.root}@shims")):
        if id in alive:
            continue
        with report.each(f"container {id} of {handler}"):
            try:
                if _remove_container(node, handler, runtime, id):
                    report.note(report.removed, f"container {id} of {handler}")
            except ContainerError as error:
                report.fail(f"container {id} of {handler}: {error}")
                expel(node, handler, id, report)


def _remove_container(node: Node, handler: str, runtime: OCIRuntime, id: str) -> bool:
    """Whether it was ours to remove."""
    try:
        container = runtime.get(id)
        if not _is_our_own(node, handler) and container.bundle != f"{node.config.state}/bundles/{id}":
            return False
    except ContainerNotFound:
        return False
    container.delete(force=True)
    return True


def _is_our_own(node: Node, handler: str) -> bool:
    """Whether nobody but this server makes containers there."""
    return node.handlers.get(handler).root.startswith(f"{node.config.state}/runtime/")


def _remove_bundles(node: Node, known: Iterable[str], report: Report) -> None:
    place = f"{node.config.state}/bundles"
    for id in _ids(place) - set(known):
        with report.each(f"bundle {id}"):
            remove_tree(f"{place}/{id}")
            report.note(report.removed, f"bundle {id}")


def _remove_pods(node: Node, known: Iterable[str], report: Report) -> None:
    """Directories of pods without a record: their pins, shared memory and control groups go with them."""
    place = f"{node.config.state}/sandboxes"
    for id in _ids(place) - set(known):
        directory = f"{place}/{id}"
        with report.each(f"pod {id}"):
            if not stat.S_ISDIR(os.lstat(directory).st_mode):
                report.fail(f"{directory}: no directory; set aside as {set_aside(node.config.state, directory)}")
                continue
            with contextlib.suppress(FileNotFoundError):
                namespaces.unpin(f"{directory}/ns")
            groups.remove_groups(f"{directory}/groups")
            files.remove_directory(directory)
            report.note(report.removed, f"pod {id}")


def _ids(directory: str) -> set[str]:
    try:
        return set(filter(is_id, os.listdir(directory)))
    except (FileNotFoundError, NotADirectoryError):
        return set()
