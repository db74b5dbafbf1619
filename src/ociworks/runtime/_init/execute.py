"""Executes the operations of a plan, in order; the first that fails ends the process and is reported.

Nothing is imported, looked up or formatted as a traceback from here on: when an operation has switched the root,
every file name belongs to the container.
"""

from __future__ import annotations

import os

from ociworks.runtime._init import (
    devices,
    hooks,
    identity,
    labels,
    maps,
    mounts,
    protect,
    rootfs,
    start,
    terminal,
    users,
    wire,
)
from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from ociworks.runtime._init.context import Context

__all__ = ["OPERATIONS", "execute"]

_FAILED: Final = 255

OPERATIONS: Final[dict[str, Callable[..., None]]] = {
    "keyring": identity.keyring,
    "join_cgroups": identity.join_cgroups,
    "unshare": identity.unshare,
    "session": identity.session,
    "oom_score_adj": identity.oom_score_adj,
    "hostname": identity.hostname,
    "domainname": identity.domainname,
    "loopback_up": identity.loopback_up,
    "expect_maps": maps.expect_maps,
    "hold_root": rootfs.hold_root,
    "enter_root": rootfs.enter_root,
    "pin_root": rootfs.pin_root,
    "superblock": mounts.superblock,
    "filesystem": mounts.filesystem,
    "bind": mounts.bind,
    "cgroup_tree": mounts.cgroup_tree,
    "make_device": devices.make_device,
    "bind_device": devices.bind_device,
    "dev_link": devices.dev_link,
    "open_terminal": terminal.open_terminal,
    "sysctl": rootfs.sysctl,
    "reach": identity.reach,
    "network_devices": identity.network_devices,
    "hook": hooks.run_in_container,
    "prepare_cwd": rootfs.prepare_cwd,
    "mount_read_only": mounts.mount_read_only,
    "mask": protect.mask,
    "read_only": protect.read_only,
    "root_read_only": rootfs.root_read_only,
    "pivot": rootfs.pivot,
    "move_root": rootfs.move_root,
    "root_propagation": rootfs.root_propagation,
    "take_terminal": terminal.take_terminal,
    "personality": identity.personality,
    "rlimit": identity.rlimit,
    "scheduler": identity.scheduler,
    "memory_policy": identity.memory_policy,
    "cpu_affinity": identity.cpu_affinity,
    "io_priority": identity.io_priority,
    "find_program": start.find_program,
    "outlive": start.outlive,
    "open_label": labels.open_label,
    "label": labels.label,
    "wait_start": start.wait_start,
    "listen": start.listen,
    "home": users.home,
    "own_streams": users.own_streams,
    "no_new_privileges": identity.no_new_privileges,
    "bounding": identity.bounding,
    "change_directory": identity.change_directory,
    "identity": identity.identity,
    "capability_sets": identity.capability_sets,
    "umask": identity.umask,
    "close_descriptors": identity.close_descriptors,
    "seccomp": identity.seccomp,
    "seccomp_listener": identity.seccomp_listener,
    "execute": start.execute,
}
"""Every operation by its name in a plan; ``ociworks.runtime.plan.ops`` builds them with types."""


def execute(context: Context, operations: tuple[tuple[Any, ...], ...]) -> None:
    """Run the operations; never returns."""
    index, name = 0, ""
    try:
        for index, (name, *arguments) in enumerate(operations):  # noqa: B007 - reported
            OPERATIONS[name](context, *arguments)
        _report(context, 0, index, name, "the plan ended without a program to execute", "")
    except StepError as error:
        _report(context, error.number, index, name, error.text, error.path)
    except OSError as error:
        path = error.filename if isinstance(error.filename, str) else os.fsdecode(error.filename or b"")
        _report(context, error.errno or 0, index, name, error.strerror or "", path)
    except BaseException as error:  # noqa: BLE001 - the boundary of a process; a traceback would read files
        _report(context, 0, index, name, f"{type(error).__name__}: {error}", "")
    os._exit(_FAILED)


def _report(context: Context, number: int, index: int, name: str, text: str, path: str) -> None:
    try:
        wire.send(context.sync, wire.FAILED, wire.pack_failure(number, index, name, text, path))
    except OSError:
        os._exit(_FAILED)
