"""Rules for the Linux section: namespaces, and what needs them."""

from __future__ import annotations

from ociworks.errors import Problem, quote
from ociworks.spec._where import member
from ociworks.spec.validate._checks import (
    check_absolute,
    check_choice,
    check_cpu_list,
    check_namespaces,
    check_range,
    check_unique,
    count_cpus,
)
from ociworks.spec.validate._common import is_interface_name
from ociworks.spec.validate.mounts import check_mappings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet
    from typing import Final

    from ociworks.spec.runtime import IntelRdt, Linux, MemoryPolicy, Personality, TimeOffset

__all__ = ["NAMESPACES", "RULES"]

NAMESPACES: Final = frozenset("pid network mount ipc uts user cgroup time".split())
_PROPAGATIONS: Final = frozenset("shared slave private unbindable".split())
_MODES: Final = frozenset(
    f"MPOL_{mode}"
    for mode in "DEFAULT BIND INTERLEAVE WEIGHTED_INTERLEAVE PREFERRED PREFERRED_MANY LOCAL".split()
)
_MODES_WITHOUT_NODES: Final = frozenset({"MPOL_DEFAULT", "MPOL_LOCAL"})
_MODES_WITH_NODES: Final = frozenset(
    {"MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED_MANY"}
)
_POLICY_FLAGS: Final = frozenset({"MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"})
_DOMAINS: Final = frozenset({"LINUX", "LINUX32"})
_SECTION: Final = "runtime-spec config-linux.md"

_SYSCTL_NAMESPACES: Final = (
    (("net/",), "network"),
    (("fs/mqueue/", "kernel/shm", "kernel/msg", "kernel/sem", "kernel/auto_msgmni"), "ipc"),
    (("kernel/domainname", "kernel/hostname"), "uts"),
    (("user/",), "user"),
)
"""The kernel parameters that belong to a namespace; every other one would change the host."""


def _linux(value: Linux, at: str) -> Iterator[Problem]:
    """Namespaces first, then what depends on them."""
    kinds = {namespace.type for namespace in value.namespaces}
    yield from check_namespaces(value.namespaces, NAMESPACES, f"{at}.namespaces", f"{_SECTION}, Namespaces")
    yield from _mappings(value, kinds, at)
    if value.time_offsets is not None and "time" not in kinds:
        message = "is set but there is no time namespace"
        yield Problem(f"{at}.timeOffsets", message, f"{_SECTION}, Offset for Time Namespace")
    yield from _sysctl(value, kinds, f"{at}.sysctl")
    yield from _net_devices(value, kinds, f"{at}.netDevices")
    yield from _devices(value, f"{at}.devices")
    yield from _paths(value, at)


def _mappings(value: Linux, kinds: AbstractSet[str], at: str) -> Iterator[Problem]:
    for name, mappings in (("uidMappings", value.uid_mappings), ("gidMappings", value.gid_mappings)):
        if mappings and "user" not in kinds:
            section = f"{_SECTION}, User namespace mappings"
            yield Problem(f"{at}.{name}", "is set but there is no user namespace", section)
        yield from check_mappings(mappings, f"{at}.{name}")


def _sysctl(value: Linux, kinds: AbstractSet[str], at: str) -> Iterator[Problem]:
    section = f"{_SECTION}, Sysctl; namespaces(7)"
    for name in value.sysctl:
        where = at + member(name)
        path = _sysctl_path(name)
        if path is None:
            yield Problem(where, "expected a name such as net.ipv4.ip_forward", section)
            continue
        owner = next((owner for prefixes, owner in _SYSCTL_NAMESPACES if path.startswith(prefixes)), None)
        if owner is None:
            yield Problem(where, "belongs to no namespace: setting it would change the host", section)
        elif owner not in kinds:
            yield Problem(where, f"is set but there is no private {owner} namespace", section)


def _sysctl_path(name: str) -> str | None:
    """The file under /proc/sys, or None. Dots and slashes change places when the first of them is a dot."""
    dot, slash = name.find("."), name.find("/")
    if dot >= 0 and (slash < 0 or dot < slash):
        name = name.translate({ord("."): "/", ord("/"): "."})
    parts = name.split("/")
    return None if len(parts) < 2 or {"", ".", ".."} & set(parts) else name


def _net_devices(value: Linux, kinds: AbstractSet[str], at: str) -> Iterator[Problem]:
    section = f"{_SECTION}, Network Devices"
    if value.net_devices and "network" not in kinds:
        yield Problem(at, "is set but there is no network namespace", section)
    targets: dict[str, str] = {}
    for host, device in value.net_devices.items():
        where = at + member(host)
        target = device.name or host
        for name in dict.fromkeys([host, target.replace("%d", "0", 1)]):
            if not is_interface_name(name) or "%" in name:
                yield Problem(where, f"{quote(name)} is no name of a network interface", section)
        if target in targets and "%d" not in target:
            yield Problem(where, f"has the same name in the container as {quote(targets[target])}", section)
        targets.setdefault(target, host)


def _devices(value: Linux, at: str) -> Iterator[Problem]:
    """A path can hold one device; the same device twice at one path is harmless."""
    section = f"{_SECTION}, Devices"
    different = list(
        dict.fromkeys((device.path, device.type, device.major, device.minor) for device in value.devices)
    )
    first = [(device.path, device.type, device.major, device.minor) for device in value.devices]
    yield from check_unique(
        different, lambda item: item[0], lambda index: f"{at}[{first.index(different[index])}].path", section
    )


def _paths(value: Linux, at: str) -> Iterator[Problem]:
    for name, title, paths in (
        ("maskedPaths", "Masked Paths", value.masked_paths),
        ("readonlyPaths", "Readonly Paths", value.readonly_paths),
    ):
        for index, path in enumerate(paths):
            yield from check_absolute(path, f"{at}.{name}[{index}]", f"{_SECTION}, {title}")
    # Docker and Podman write the recursive forms too, and runc and crun take them.
    propagation = (value.rootfs_propagation or "").removeprefix("r")
    section = f"{_SECTION}, Rootfs Mount Propagation"
    yield from check_choice(propagation or None, _PROPAGATIONS, f"{at}.rootfsPropagation", section)


def _offset(value: TimeOffset, at: str) -> Iterator[Problem]:
    """Nanoseconds stay below a second."""
    section = f"{_SECTION}, Offset for Time Namespace; time_namespaces(7)"
    yield from check_range(value.nanosecs, 0, 999_999_999, f"{at}.nanosecs", section)


def _personality(value: Personality, at: str) -> Iterator[Problem]:
    """A known domain; no flag is supported yet."""
    section = f"{_SECTION}, Personality"
    if value.domain is None:
        yield Problem(f"{at}.domain", "is required", section)
    yield from check_choice(value.domain, _DOMAINS, f"{at}.domain", section)
    if value.flags:
        yield Problem(f"{at}.flags", "expected none: no flag is supported", section)


def _memory_policy(value: MemoryPolicy, at: str) -> Iterator[Problem]:
    """A known mode, and nodes if and only if the mode works on nodes."""
    section = f"{_SECTION}, Memory policy"
    if value.mode is None:
        yield Problem(f"{at}.mode", "is required", section)
    yield from check_choice(value.mode, _MODES, f"{at}.mode", section)
    yield from check_cpu_list(value.nodes, f"{at}.nodes", section)
    if value.mode in _MODES_WITHOUT_NODES and value.nodes:
        message = f"this mode requires 0 nodes but got {count_cpus(value.nodes)}: {value.mode}"
        yield Problem(f"{at}.nodes", message, f"{section}; set_mempolicy(2)")
    if value.mode in _MODES_WITH_NODES and not value.nodes:
        yield Problem(f"{at}.nodes", f"{value.mode} needs nodes", f"{section}; set_mempolicy(2)")
    for index, flag in enumerate(value.flags):
        yield from check_choice(flag, _POLICY_FLAGS, f"{at}.flags[{index}]", section)
    if {"MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"} <= set(value.flags):
        message = "relative and static nodes exclude each other"
        yield Problem(f"{at}.flags", message, f"{section}; set_mempolicy(2)")


def _intel_rdt(value: IntelRdt, at: str) -> Iterator[Problem]:
    """One directory name, and schemata of one line each."""
    section = f"{_SECTION}, IntelRdt"
    if value.clos_id and value.clos_id != "/" and ("/" in value.clos_id or value.clos_id in {".", ".."}):
        message = f"expected one directory name or /, got {quote(value.clos_id)}"
        yield Problem(f"{at}.closID", message, section)
    if value.mem_bw_schema is not None and not value.mem_bw_schema.startswith("MB:"):
        message = f"expected MB: at the start, got {quote(value.mem_bw_schema)}"
        yield Problem(f"{at}.memBwSchema", message, section)
    lines = [("l3CacheSchema", value.l3_cache_schema), ("memBwSchema", value.mem_bw_schema)]
    lines += [(f"schemata[{index}]", line) for index, line in enumerate(value.schemata)]
    for name, line in lines:
        if line is not None and "\n" in line:
            yield Problem(f"{at}.{name}", "must not contain a newline", section)


RULES: Final = {
    "IntelRdt": _intel_rdt,
    "Linux": _linux,
    "MemoryPolicy": _memory_policy,
    "Personality": _personality,
    "TimeOffset": _offset,
}
