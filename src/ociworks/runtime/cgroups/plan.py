"""From ``linux.cgroupsPath`` and ``linux.resources`` to a plan: every directory, file and value, before any exists.

A limit whose controller is not there is refused here (design rule 16). The plan is plain data: it can be printed and
compared, and :meth:`CgroupPlan.plain` is what the launcher executes.
"""

from __future__ import annotations

from ociworks._values import evolve, frozen
from ociworks.errors import NotSupported
from ociworks.runtime._same import Same, kept
from ociworks.runtime.cgroups import v1, v2
from ociworks.runtime.cgroups.detect import given
from ociworks.runtime.cgroups.devices_bpf import device_program
from ociworks.runtime.cgroups.paths import DEFAULT_PARENT, normalise
from ociworks.runtime.cgroups.rules import reduce_rules
from ociworks.runtime.cgroups.settings import Setting
from ociworks.spec.frozen import FrozenDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import TypeAlias

    from ociworks.runtime._cgroupfs import Plain
    from ociworks.runtime.cgroups.detect import Hierarchies, Hierarchy
    from ociworks.runtime.cgroups.rules import DeviceTable
    from ociworks.runtime.systemd.scope import Driver, Scope
    from ociworks.spec._model import Model
    from ociworks.spec.runtime import Resources

    Writer: TypeAlias = Callable[[int, str], list[Setting]]

__all__ = ["CgroupPlan", "Place", "delegated", "find", "limits", "plan"]

_WISHED = ("cpu", "io", "memory", "pids")  # for statistics, where no limit needs them

Place: TypeAlias = tuple[int, str]
"""The version of the hierarchy that offers a controller, and the group's directory in it."""

Leaves: TypeAlias = "dict[Hierarchy, str]"


@frozen(kw_only=True)
class CgroupPlan:
    """What will be made and written, in this order.

    ``parents`` are made where missing, ``shared`` ones of them removed by whoever empties them; ``directories`` are
    the leaves, which must be new; ``inherit`` copies cpuset files from the group above; ``settings`` are the limits;
    ``attempts`` only serve statistics; through ``tasks`` and by being cloned into ``unified``, or through ``procs``, a
    process joins; ``membership`` is what
    ``/proc/PID/cgroup`` must then show, by controller; ``device_program`` is the v2 device filter, for ``unified``.
    ``given`` are the files of ``unified`` that are handed to the user ``owner``, so that the container may make groups.
    ``scope`` is the unit that systemd starts first, and then leaves may exist already: it has made them.
    An empty plan makes nothing: no limits were asked for where groups cannot be made.
    """

    mounts: tuple[tuple[str, int], ...] = ()
    parents: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    inherit: tuple[tuple[str, str], ...] = ()
    settings: tuple[Setting, ...] = ()
    attempts: tuple[tuple[str, bytes], ...] = ()
    unified: str = ""
    device_program: bytes | None = None
    scope: Scope | None = None
    given: tuple[str, ...] = ()
    owner: int = 0
    membership: Mapping[str, str] = FrozenDict()

    @property
    def cloned_into(self) -> str:
        """The group that processes are cloned into: ``unified``, unless only systemd may move them there."""
        return "" if self.scope is not None and self.scope.user else self.unified

    @property
    def procs(self) -> tuple[str, ...]:
        """The ``cgroup.procs`` files to write a pid to."""
        return tuple(f"{directory}/cgroup.procs" for directory in self.directories)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The ``tasks`` files of version 1 for a process with one thread that moves itself.

        The kernel moves others, and every process through ``cgroup.procs``, only after all forks on the machine have
        been stopped, which takes milliseconds.
        """
        return tuple(f"{directory}/tasks" for directory in self.directories if directory != self.unified)

    def plain(self) -> Plain:
        """The plan as a tuple of strings and bytes, for :func:`ociworks.runtime._cgroupfs.create`."""
        return (
            self.mounts,
            self.parents,
            self.shared,
            self.directories,
            self.inherit,
            self.settings,
            self.attempts,
            self.unified,
            self.device_program or b"",
            self.scope is not None,
            self.given,
            self.owner,
        )


def plan(
    hierarchies: Hierarchies,
    cgroups_path: str | None,
    container_id: str,
    resources: Resources | None,
    *,
    devices: bool = True,
    systemd: Driver | None = None,
) -> CgroupPlan:
    """Decide everything about a container's groups (runtime-spec config-linux.md, Control groups).

    ``devices=False`` plans no device filter: in a user namespace no device node can be made, and none opened that
    was not put there on purpose. With ``systemd`` the group is a scope of it, named ``slice:prefix:name``.
    Raises CgroupError for what is wrong, NotSupported for what this host cannot do.
    """
    if systemd is not None:
        return _in_scope(hierarchies, cgroups_path, container_id, resources, systemd, devices=devices)
    parts, relative = normalise(cgroups_path, container_id)
    if not relative and any(
        hierarchies.base.get(mount.mount_point) != mount.mount_point for mount in hierarchies.mounts
    ):
        hierarchies = given(hierarchies, parts)
    if not hierarchies.available:
        if cgroups_path or _asked(resources, devices=devices):
            raise NotSupported(f"control groups: {hierarchies.reason}")
        return CgroupPlan()
    start = (DEFAULT_PARENT, *parts) if relative else parts
    base = {mount: hierarchies.base[mount.mount_point] for mount in hierarchies.mounts}
    leaves = {
        mount: "/".join((base[mount] if relative else mount.mount_point, *start))
        for mount in hierarchies.mounts
    }
    return _plan(hierarchies, base, leaves, resources, devices=devices, relative=relative)


def _in_scope(
    hierarchies: Hierarchies,
    cgroups_path: str | None,
    container_id: str,
    resources: Resources | None,
    systemd: Driver,
    *,
    devices: bool,
) -> CgroupPlan:
    """The same below a scope, in each hierarchy at the path that it has in systemd's."""
    from ociworks.runtime.systemd import scope as names
    from ociworks.runtime.systemd.properties import ALWAYS, accounting, device_properties, properties

    unit, above = names.parse(cgroups_path, container_id, user=systemd.user)
    if not hierarchies.mounts:
        raise NotSupported(f"control groups: {hierarchies.reason or 'none are mounted'}")
    inner = [part for part in systemd.group.split("/") if part]
    path = "/".join((*inner, *names.expand(above), unit))
    base = {mount: "/".join((mount.mount_point, *inner)) for mount in hierarchies.mounts}
    leaves = {mount: f"{mount.mount_point}/{path}" for mount in hierarchies.mounts}
    planned = _plan(hierarchies, base, leaves, resources, devices=devices, relative=False)
    version = 2 if hierarchies.mode == "v2" else 1
    limited = properties(resources, version) if resources else ()
    filtered = device_properties(reduce_rules(resources.devices if resources else ())) if devices else ()
    return evolve(
        planned,
        scope=names.Scope(
            unit=unit,
            slice=above,
            user=systemd.user,
            properties=(
                ("Description", "s", f"container {container_id}"),
                *ALWAYS,
                *accounting(version),
                *limited,
                *filtered,
                *systemd.properties,
            ),
        ),
    )


@kept(16)
def _device_table(resources: Same[Resources | None]) -> DeviceTable:
    return reduce_rules(resources.value.devices if resources.value else ())


def _plan(
    hierarchies: Hierarchies,
    base: Mapping[Hierarchy, str],
    leaves: Leaves,
    resources: Resources | None,
    *,
    devices: bool,
    relative: bool,
) -> CgroupPlan:
    table = _device_table(Same(resources)) if devices else None
    settings, needed = _settings(hierarchies, resources, table, leaves)
    unified, cpuset = hierarchies.unified, hierarchies.find("cpuset")
    required, attempts = _subtree_control(unified, leaves, base[unified] if unified else "", needed)
    by_program = table is not None and unified is not None and hierarchies.find("devices") is None
    return CgroupPlan(
        mounts=tuple((mount.mount_point, mount.device) for mount in leaves),
        parents=tuple(path for mount, leaf in leaves.items() for path in _above(leaf, base[mount])),
        shared=tuple(f"{base[mount]}/{DEFAULT_PARENT}" for mount in leaves if relative),
        directories=tuple(leaves.values()),
        inherit=tuple(_inherit(cpuset, leaves, base[cpuset] if cpuset else "")),
        settings=(*required, *settings),
        attempts=tuple(attempts),
        unified=leaves[unified] if unified else "",
        device_program=device_program(table) if by_program and table is not None else None,
        membership=_membership(leaves),
    )


def delegated(found: CgroupPlan, owner: int, files: Iterable[str]) -> CgroupPlan:
    """The plan with its version 2 group handed to ``owner``: the directory and ``files`` in it (cgroups(7)).

    The limits themselves stay whose they are.
    """
    if not found.unified:
        return found
    paths = (f"{found.unified}/{name}" for name in files)
    return evolve(found, given=(found.unified, *paths), owner=owner)


def limits(resources: Resources, place: Callable[[str], Place]) -> tuple[Setting, ...]:
    """The settings for everything in ``resources`` but the devices.

    ``place(controller)`` finds the group that has the controller, or raises NotSupported.
    """
    settings: list[Setting] = []
    for controller, write in _writers(resources):
        settings += write(*place(controller))
    for name in resources.unified:
        version, directory = place(v2.unified_controller(name))
        if version != 2:
            raise NotSupported(
                f"invalid configuration: $.linux.resources.unified: {name} is in a version 1 hierarchy on this host"
            )
        settings += v2.unified({name: resources.unified[name]}, directory)
    return tuple(settings)


def _writers(r: Resources) -> Iterator[tuple[str, Writer]]:
    """The controllers that ``r`` needs, each with a function from version and directory to settings."""
    if (cpu := r.cpu) is not None:
        if cpu.cpus or cpu.mems:
            yield "cpuset", lambda _, to: v1.cpuset(cpu, to)
        if _is_set(cpu, "cpus", "mems"):
            yield "cpu", lambda version, to: v1.cpu(cpu, to) if version == 1 else v2.cpu(cpu, to)
    if (memory := r.memory) is not None and _is_set(memory, "check_before_update"):
        yield "memory", lambda version, to: v1.memory(memory, to) if version == 1 else v2.memory(memory, to)
    if (pids := r.pids) is not None and _is_set(pids):
        yield "pids", lambda _, to: v1.pids(pids, to)
    yield from _device_writers(r)


def _device_writers(r: Resources) -> Iterator[tuple[str, Writer]]:
    if (io := r.block_io) is not None and _is_set(io):
        yield "blkio", lambda version, to: v1.blkio(io, to) if version == 1 else v2.io(io, to)
    if pages := r.hugepage_limits:
        yield "hugetlb", lambda version, to: v1.hugetlb(pages, to) if version == 1 else v2.hugetlb(pages, to)
    if (network := r.network) is not None and network.class_id is not None:
        yield "net_cls", lambda _, to: v1.net_cls(network, to)
    if network is not None and network.priorities:
        yield "net_prio", lambda _, to: v1.net_prio(network, to)
    if rdma := r.rdma:
        yield "rdma", lambda _, to: v1.rdma(rdma, to)


def _is_set(part: Model, *without: str) -> bool:
    """Whether anything is asked for: configurations often have empty objects, and false for what they do not want."""
    skipped = ("extra", *without)
    return any(
        value is not None and value is not False and value != ()
        for name, value in vars(part).items()
        if name not in skipped
    )


def _asked(resources: Resources | None, *, devices: bool) -> bool:
    if resources is None:
        return False
    return bool(resources.unified or (devices and resources.devices) or next(_writers(resources), None))


def find(hierarchies: Hierarchies, controller: str) -> Hierarchy:
    """The hierarchy with ``controller``, which version 2 calls ``io`` where version 1 calls it ``blkio``."""
    mount = hierarchies.find(controller)
    if mount is None and controller == "blkio":
        mount = hierarchies.find("io")
    if mount is None:
        raise NotSupported(
            f"$.linux.resources: this host has no {controller} controller ({hierarchies.mode}); remove the limit"
        )
    return mount


def _settings(
    hierarchies: Hierarchies, resources: Resources | None, table: DeviceTable | None, leaves: Leaves
) -> tuple[tuple[Setting, ...], set[str]]:
    """All limits, and the controllers of the unified hierarchy that they need."""
    needed: set[str] = set()

    def place(controller: str) -> Place:
        mount = find(hierarchies, controller)
        if mount.version == 2:
            needed.add("io" if controller == "blkio" else controller)
        return mount.version, leaves[mount]

    filtered: list[Setting] = []
    by_files = hierarchies.find("devices")
    if table is not None and by_files is not None:
        filtered = v1.devices(table, leaves[by_files])
    elif table is not None and hierarchies.unified is None and resources is not None and resources.devices:
        raise NotSupported(
            "$.linux.resources.devices: this host has neither a devices controller nor version 2 groups"
        )
    return (*filtered, *(limits(resources, place) if resources else ())), needed


def _above(leaf: str, base: str) -> list[str]:
    """The directories between ``base`` and ``leaf``, without both, from the top."""
    names = leaf[len(base) + 1 :].split("/")[:-1]
    return ["/".join((base, *names[: count + 1])) for count in range(len(names))]


def _inherit(cpuset: Hierarchy | None, leaves: Leaves, base: str) -> Iterator[tuple[str, str]]:
    """A new v1 cpuset group is empty and takes no process: each gets what the group above it has."""
    if cpuset is None or cpuset.version == 2:
        return
    for directory in (*_above(leaves[cpuset], base), leaves[cpuset]):
        for name in ("cpuset.cpus", "cpuset.mems"):
            yield f"{directory.rpartition('/')[0]}/{name}", f"{directory}/{name}"


def _subtree_control(
    unified: Hierarchy | None, leaves: Leaves, base: str, needed: set[str]
) -> tuple[list[Setting], list[tuple[str, bytes]]]:
    """Version 2 groups have a controller's files only when each group above hands the controller down."""
    if unified is None or not unified.controllers:
        return [], []
    files = [f"{path}/cgroup.subtree_control" for path in (base, *_above(leaves[unified], base))]
    wished = [name for name in _WISHED if name in unified.controllers and name not in needed]
    words = " ".join(f"+{name}" for name in sorted(needed)).encode("ascii")
    required: list[Setting] = [((path, words),) for path in files if words]
    return required, [(path, f"+{name}".encode("ascii")) for name in wished for path in files]


def _membership(leaves: Leaves) -> FrozenDict[str, str]:
    return FrozenDict(
        {
            controller: mount.name(leaf)
            for mount, leaf in leaves.items()
            for controller in (mount.controllers if mount.version == 1 else ("",))
        }
    )
