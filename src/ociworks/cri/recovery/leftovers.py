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
    alive = {name for name, record in containers.items() if record.phase in _ALIVE}
    for handler in node.handlers.names:
        _remove_from_runtime(node, handler, alive, report)
    _remove_bundles(node, containers, report)
    for name in node.images.holders() - containers.keys():
        with report.each(f"root of container {quote(name)}"):
            node.images.release(name)
            report.note(report.removed, f"root of container {name}")
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
    for name in sorted(_ids(runtime.root) | _ids(f"{runtime.root}@shims")):
        if name in alive:
            continue
        with report.each(f"container {name} of {handler}"):
            try:
                if _remove_container(node, handler, runtime, name):
                    report.note(report.removed, f"container {name} of {handler}")
            except ContainerError as error:
                report.fail(f"container {name} of {handler}: {error}")
                expel(node, handler, name, report)


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
    for name in _ids(place) - set(known):
        with report.each(f"bundle {name}"):
            remove_tree(f"{place}/{name}")
            report.note(report.removed, f"bundle {name}")


def _remove_pods(node: Node, known: Iterable[str], report: Report) -> None:
    """Directories of pods without a record: their pins, shared memory and control groups go with them."""
    place = f"{node.config.state}/sandboxes"
    for name in _ids(place) - set(known):
        directory = f"{place}/{name}"
        with report.each(f"pod {name}"):
            if not stat.S_ISDIR(os.lstat(directory).st_mode):
                report.fail(
                    f"{directory}: no directory; set aside as {set_aside(node.config.state, directory)}"
                )
                continue
            with contextlib.suppress(FileNotFoundError):
                namespaces.unpin(f"{directory}/ns")
            groups.remove_groups(f"{directory}/groups", f"{node.config.state}/groups")
            files.remove_directory(directory)
            report.note(report.removed, f"pod {name}")


def _ids(directory: str) -> set[str]:
    try:
        return set(filter(is_id, os.listdir(directory)))
    except (FileNotFoundError, NotADirectoryError):
        return set()
