"""The configuration that ``spec`` writes: members and values of runc's, which tools that edit it count on.

It is stricter than runc's where nobody counts on the difference: more paths are masked. The library's own beginning is
:func:`ociworks.spec.defaults.default_spec`, which has a system call filter.
"""

from __future__ import annotations

import os
from typing import Final

import attrs

from ociworks.runtime import cgroups
from ociworks.spec.defaults import MASKED_PATHS, NAMESPACES, PATH, READONLY_PATHS, default_mounts
from ociworks.spec.runtime import (
    VERSION,
    Capabilities,
    DeviceRule,
    IDMapping,
    Linux,
    Mount,
    Namespace,
    Process,
    Resources,
    Rlimit,
    Root,
    Spec,
)

__all__ = ["example"]

_CAPABILITIES: Final = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_NOFILE: Final = 1024
_GROUPS: Final = "/sys/fs/cgroup"


def example(*, rootless: bool) -> Spec:
    """A shell on a terminal; ``rootless`` as far as an ordinary user can have it."""
    return Spec(
        oci_version=VERSION,
        root=Root(path="rootfs", readonly=True),
        process=_process(),
        hostname="ociworks",
        mounts=_mounts(rootless=rootless),
        linux=_rootless(_linux()) if rootless else _linux(),
    )


def _process() -> Process:
    return Process(
        terminal=True,
        args=("sh",),
        env=(f"PATH={PATH}", "TERM=xterm"),
        cwd="/",
        capabilities=Capabilities(bounding=_CAPABILITIES, effective=_CAPABILITIES, permitted=_CAPABILITIES),
        rlimits=(Rlimit(type="RLIMIT_NOFILE", soft=_NOFILE, hard=_NOFILE),),
        no_new_privileges=True,
    )


def _mounts(*, rootless: bool) -> tuple[Mount, ...]:
    usual = tuple(mount for mount in default_mounts(rootless=rootless) if mount.destination != _GROUPS)
    options = ("nosuid", "noexec", "nodev", "relatime", "ro")
    return (*usual, Mount(destination=_GROUPS, type="cgroup", source="cgroup", options=options))


def _linux() -> Linux:
    """A cgroup namespace only on version 2, as everywhere: on version 1 tools look for the path of the group."""
    kinds = (kind for kind in NAMESPACES if kind != "cgroup" or cgroups.detect().mode == "v2")
    return Linux(
        namespaces=tuple(Namespace(type=kind) for kind in kinds),
        resources=Resources(devices=(DeviceRule(allow=False, access="rwm"),)),
        masked_paths=MASKED_PATHS,
        readonly_paths=READONLY_PATHS,
    )


def _rootless(linux: Linux) -> Linux:
    """With a user namespace of the caller's alone, on the host's network, without limits."""
    kept = tuple(each for each in linux.namespaces if each.type != "network")
    return attrs.evolve(
        linux,
        namespaces=(*kept, Namespace(type="user")),
        uid_mappings=(IDMapping(container_id=0, host_id=os.geteuid(), size=1),),
        gid_mappings=(IDMapping(container_id=0, host_id=os.getegid(), size=1),),
        resources=None,
    )
