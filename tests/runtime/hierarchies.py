"""Machines to plan for, as their kernels describe them."""

from __future__ import annotations

from ociworks.runtime.cgroups import Hierarchies, detect

__all__ = ["V1", "V2", "hybrid", "machine"]


def machine(mounts: str, own: str, controllers: str = "") -> Hierarchies:
    """Detect from made-up tables. The mount points do not exist, so nothing may be made in them."""
    return detect(mountinfo=mounts, self_cgroup=own, read=lambda _: controllers)


def writable(found: Hierarchies) -> Hierarchies:
    """The same machine for a process that may make groups everywhere."""
    from attrs import evolve

    from ociworks.spec.frozen import FrozenDict

    base = FrozenDict({mount.mount_point: mount.mount_point for mount in found.mounts})
    return evolve(found, base=base, available=True, reason="")


def _line(number: int, kind: str, where: str, options: str, root: str = "/") -> str:
    return f"{number} 20 0:{number} {root} {where} rw,nosuid shared:{number} - {kind} {kind} rw,{options}\n"


_CONTROLLERS = (
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "hugetlb",
    "rdma",
    "net_cls,net_prio",
)
_V1 = _line(30, "cgroup", "/cg/cpu,cpuacct", "cpu,cpuacct") + "".join(
    _line(31 + index, "cgroup", f"/cg/{name}", name) for index, name in enumerate(_CONTROLLERS)
)
_OWN = "2:cpu,cpuacct:/u\n" + "".join(f"{index + 3}:{name}:/u\n" for index, name in enumerate(_CONTROLLERS))
_NAMED = _line(50, "cgroup", "/cg/systemd", "xattr,name=systemd")

V1 = writable(machine(_V1 + _NAMED, _OWN + "1:name=systemd:/u\n"))
V2 = writable(
    machine(
        _line(40, "cgroup2", "/cg", "nsdelegate"), "0::/u\n", "cpuset cpu io memory hugetlb pids rdma misc\n"
    )
)


def hybrid() -> Hierarchies:
    """Version 1 controllers, and a unified hierarchy that has hugetlb alone."""
    mounts = _V1.replace("hugetlb", "perf_event") + _NAMED + _line(40, "cgroup2", "/cg/unified", "rw")
    own = _OWN.replace("hugetlb", "perf_event") + "1:name=systemd:/u\n0::/u\n"
    return writable(machine(mounts, own, "hugetlb"))
