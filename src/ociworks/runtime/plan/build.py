"""From a bundle to a plan: everything that can be decided before anything exists."""

from __future__ import annotations

import itertools
import os

from ociworks._linux import numbers as kernel
from ociworks._values import frozen
from ociworks.errors import InvalidSpec, NotSupported, Problem, quote
from ociworks.runtime import cgroups
from ociworks.runtime import seccomp as filters
from ociworks.runtime._init import wire
from ociworks.runtime._same import Same, kept
from ociworks.runtime.options import RunOptions
from ociworks.runtime.plan import labels, ops
from ociworks.runtime.plan import process as processes
from ociworks.runtime.plan.devices import device_ops
from ociworks.runtime.plan.groups import Groups, delegated_files
from ociworks.runtime.plan.mounts import Layout, early_ops, late_ops, mount_ops
from ociworks.runtime.plan.namespaces import id_maps, joined_maps, namespaces, time_offsets
from ociworks.runtime.plan.options import PROPAGATION
from ociworks.runtime.plan.protect import protect_ops
from ociworks.runtime.plan.refuse import (
    refuse_joined_mounts,
    refuse_process,
    refuse_shared_mounts,
    refuse_unsupported,
)
from ociworks.runtime.plan.sources import Sources
from ociworks.runtime.plan.sysctl import sysctl_ops
from ociworks.runtime.plan.value import Plan, rootfs_of
from ociworks.spec._config import Loaded
from ociworks.spec.runtime import Hooks, Linux
from ociworks.spec.validate import broken_rules, validate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Final, TypeAlias

    from ociworks.runtime.overlay import RootfsOverlay
    from ociworks.runtime.plan.resctrl import ResctrlPlan
    from ociworks.runtime.plan.sources import Maps
    from ociworks.runtime.systemd.scope import Driver
    from ociworks.spec import Bundle
    from ociworks.spec.runtime import Process, Seccomp, Spec

    Compiler: TypeAlias = Callable[[Seccomp], filters.CompiledFilter]

__all__ = ["ExecPlan", "build", "build_exec", "compile_filter", "state_around_pid"]

_NO_OPTIONS: Final = RunOptions()
IN_SCOPE: Final = "scope"
"""The point at which a first process is in its scope of systemd, or waits to be moved there."""
_NO_HOOKS: Final = Hooks()


@frozen(kw_only=True)
class ExecPlan:
    """What a further process of a running container will do."""

    operations: tuple[ops.Op, ...]
    kinds: int
    """The namespaces to join, as the kernel's flags."""
    oom_score_adj: int | None = None
    """Set before anything is joined: inside, ``/proc`` is the container's word (RT-12)."""
    affinity: tuple[int, ...] = ()
    """The CPUs to run on before the control groups are entered."""


def build(  # noqa: PLR0913 - the ways in which one configuration can be carried out
    bundle: Bundle | Loaded,
    container_id: str,
    *,
    wait: bool = True,
    detached: bool = False,
    no_pivot: bool = False,
    hierarchies: cgroups.Hierarchies | None = None,
    systemd_cgroup: bool = False,
    options: RunOptions = _NO_OPTIONS,
    compiler: Compiler | None = None,
) -> Plan:
    """Plan a container. ``wait`` makes it stop before its program until it is started; ``detached``, outlive us.

    ``hierarchies`` are the host's control groups when they are not to be looked for. ``no_pivot`` moves the root
    filesystem over the host's and enters it by chroot, for a host whose own root cannot be exchanged (an initramfs); it
    protects less, so nothing chooses it by itself. ``systemd_cgroup`` puts the container into a scope of systemd: of
    the system's as root, of the user's manager otherwise. ``compiler`` compiles filters in another way.

    Raises InvalidSpec with every problem of the configuration, NotSupported for what ociworks or this host cannot do,
    CgroupError for an unusable control group path.
    """
    spec = options.apply(bundle.spec)
    parsed = isinstance(bundle, Loaded) and spec is bundle.spec
    problems = _problems(Same(spec), parsed=parsed)
    if problems:
        raise InvalidSpec(problems, what=f"{bundle.path}/config.json")
    overlay: RootfsOverlay | None = getattr(bundle, "overlay", None)
    return _builder(Same(spec), os.fspath(bundle.path), overlay, os.geteuid(), compiler).plan(
        container_id,
        hierarchies or cgroups.detect(),
        options,
        wait=wait,
        detached=detached,
        no_pivot=no_pivot or options.no_pivot,
        systemd_cgroup=systemd_cgroup,
    )


@kept(16)
def _problems(spec: Same[Spec], *, parsed: bool) -> tuple[Problem, ...]:
    """Configurations are frozen, so one look at each is enough."""
    return tuple(broken_rules(spec.value) if parsed else validate(spec.value))


@kept(16)
def _builder(
    spec: Same[Spec], bundle: str, overlay: RootfsOverlay | None, _user: int, compiler: Compiler | None
) -> _Builder:
    return _Builder(spec.value, bundle, overlay, compiler)


class _Builder:
    """The parts of the plans for one configuration, and the facts that several of them need.

    What depends on nothing but the configuration is worked out once: containers are made of the same one repeatedly.
    """

    def __init__(
        self, spec: Spec, bundle: str, overlay: RootfsOverlay | None, compiler: Compiler | None
    ) -> None:
        if spec.process is None or spec.root is None:
            missing = "$.process" if spec.process is None else "$.root"
            raise InvalidSpec([Problem(missing, "a container to run needs it")], what=f"{bundle}/config.json")
        self.spec, self.bundle, self.overlay = spec, bundle, overlay
        self.process: Process = spec.process
        self.rootfs = rootfs_of(spec, bundle)
        self.linux = spec.linux or Linux()
        self.hooks = spec.hooks or _NO_HOOKS
        refuse_unsupported(spec)
        refuse_process(self.process)
        self.namespaces = namespaces(self.linux)
        self.own_mounts = bool(self.namespaces.private & kernel.CLONE_NEWNS)
        if self.own_mounts:
            refuse_joined_mounts(self.linux, self.namespaces)
        else:
            refuse_shared_mounts(self.linux, self.namespaces, overlay=overlay is not None)
            if any(late_ops(spec, self.rootfs)):
                raise NotSupported(
                    "$.mounts: a read-only /dev or tmpfs needs a mount namespace of the container's own"
                )
        self.time_offsets = time_offsets(self.linux, self.namespaces)
        self.has_user_namespace = bool(self.namespaces.private & kernel.CLONE_NEWUSER)
        self.maps = id_maps(self.linux) if self.namespaces.new & kernel.CLONE_NEWUSER else None
        self.entry = tuple(self._entry())
        self.before_hooks = tuple(self._before_hooks())
        self.before_pivot = tuple(self._before_pivot())
        self.root_propagation = tuple(self._root_propagation())
        self.setup = tuple(processes.setup_ops(self.process, self.linux))
        self.final = tuple(
            processes.final_ops(
                self.process,
                compile_filter(self.linux.seccomp, compiler),
                may_set_groups=self.maps is None or not self.maps.deny_setgroups,
            )
        )

    def plan(
        self,
        container_id: str,
        hierarchies: cgroups.Hierarchies,
        options: RunOptions,
        *,
        wait: bool,
        detached: bool,
        no_pivot: bool,
        systemd_cgroup: bool,
    ) -> Plan:
        """The plan of one container."""
        group = cgroups.plan(
            hierarchies,
            self.linux.cgroups_path,
            container_id,
            self.linux.resources,
            devices=not self.has_user_namespace,
            systemd=self._systemd() if systemd_cgroup else None,
        )
        group = self._delegated(group, hierarchies)
        groups = Groups(
            hierarchies=hierarchies,
            directories=tuple(group.directories),
            own_namespace=bool(self.namespaces.private & kernel.CLONE_NEWCGROUP),
            is_root=bool(self.namespaces.new & kernel.CLONE_NEWCGROUP) and not self.has_user_namespace,
        )
        if self.linux.net_devices:
            from ociworks.runtime.netdevices import check_devices

            check_devices(self.linux.net_devices)
        resctrl = self._resctrl(container_id)
        sources = Sources(self._container_maps(), in_user_namespace=self.has_user_namespace)
        operations = (
            *((ops.keyring(f"_ses.{container_id}"),) if options.new_keyring else ()),
            *self.entry,
            self._pin_root(),
            *self._mounts(groups, group, sources),
            *self.before_hooks,
            *self._hooks(container_id, "createContainer", "creating"),
            *self.before_pivot,
            self._enter_root(no_pivot=no_pivot),
            *self.root_propagation,
            *processes.every_cpu(),
            *self.setup,
            *(processes.waiting_ops(self.process, detached=detached) if wait else ()),
            *(processes.home_ops(self.process) if options.home else ()),
            *((ops.listen(options.listen_fds),) if options.listen_fds else ()),
            *self.final[:-1],
            *self._hooks(container_id, "startContainer", "created"),
            self.final[-1],
        )
        return Plan(
            container_id=container_id,
            bundle=self.bundle,
            spec=self.spec,
            namespaces=self.namespaces,
            maps=self.maps,
            cgroup=group,
            operations=operations,
            resctrl=resctrl,
            passed=options.pass_fds,
            sources=sources.asked,
            time_offsets=self.time_offsets,
        )

    def _resctrl(self, container_id: str) -> ResctrlPlan | None:
        if self.linux.intel_rdt is None:
            return None
        from ociworks.runtime.plan.resctrl import plan_resctrl

        return plan_resctrl(self.linux.intel_rdt, container_id)

    def _container_maps(self) -> Maps | None:
        """Of the container's own user namespace: its maps, or its file."""
        if self.maps is not None:
            return self.maps.uid_map, self.maps.gid_map
        joined = (path for kind, path in self.namespaces.joins if kind == kernel.CLONE_NEWUSER)
        return next((("", path) for path in joined), None)

    def _enter_root(self, *, no_pivot: bool) -> ops.Op:
        if not self.own_mounts:
            return ops.enter_root()
        return ops.move_root() if no_pivot else ops.pivot()

    def _pin_root(self) -> ops.Op:
        if not self.own_mounts:
            return ops.hold_root(self.rootfs)
        shared = self.linux.rootfs_propagation in ("shared", "rshared")
        return ops.pin_root(
            self.rootfs,
            0 if shared else kernel.MS_SLAVE,
            _mount_point(self.rootfs) if shared else "",
            self.overlay.encode() if self.overlay is not None else None,
        )

    def _entry(self) -> Iterator[ops.Op]:
        expected = joined_maps(self.linux) if self.has_user_namespace and self.maps is None else None
        if expected is not None:
            yield ops.expect_maps(*expected)
        yield from processes.entry_ops(self.process)
        if self.spec.hostname:
            yield self._uts("$.hostname", ops.hostname(self.spec.hostname))
        if self.spec.domainname:
            yield self._uts("$.domainname", ops.domainname(self.spec.domainname))
        if self.namespaces.new & kernel.CLONE_NEWNET:
            yield ops.loopback_up()

    def _uts(self, where: str, op: ops.Op) -> ops.Op:
        if not self.namespaces.private & kernel.CLONE_NEWUTS:
            raise NotSupported(f"{where}: would change the host's name; give the container a UTS namespace")
        return op

    def _delegated(self, group: cgroups.CgroupPlan, hierarchies: cgroups.Hierarchies) -> cgroups.CgroupPlan:
        """The group handed to the container's user, who sees only it and asked to write in it."""
        private = self.namespaces.private & kernel.CLONE_NEWCGROUP
        owner = self.process.user.uid
        if self.has_user_namespace:
            owner = (
                self.maps.host_uid(owner) if self.maps is not None else 0
            )  # a joined one has maps of its own
        writable = any(m.type in ("cgroup", "cgroup2") and "ro" not in m.options for m in self.spec.mounts)
        if not (private and writable and owner > 0) or hierarchies.mode != "v2":
            return group
        if os.geteuid() not in (0, owner):
            return group  # only root gives to others
        return cgroups.delegated(group, owner, delegated_files())

    def _systemd(self) -> Driver:
        from ociworks.runtime.systemd import manager, scope
        from ociworks.runtime.systemd.annotations import annotated

        user = os.geteuid() != 0
        return scope.Driver(
            user=user,
            group=manager.manager_group() if user else "",
            properties=annotated(self.spec.annotations),
        )

    def _mounts(self, groups: Groups, group: cgroups.CgroupPlan, sources: Sources) -> Iterator[ops.Op]:
        """The mounts; control groups are entered where they are shown first, while the launcher makes them."""
        entered = False
        layout = Layout(bundle=self.bundle, rootfs=self.rootfs)
        planned = itertools.chain(early_ops(self.spec, layout), mount_ops(self.spec, layout, groups, sources))
        label = self.linux.mount_label
        if label:
            labels.check_mount_label(label)
        for unlabelled in planned:
            op = labels.with_context(unlabelled, label) if label else unlabelled
            if op.name == "cgroup_tree" and not entered:
                yield from self._control_groups(group)
                entered = True
            yield op
        if not entered:
            yield from self._control_groups(group)

    def _control_groups(self, group: cgroups.CgroupPlan) -> Iterator[ops.Op]:
        if group.scope is not None and group.scope.user:
            yield ops.reach(IN_SCOPE)  # only systemd may move us there
        yield ops.join_cgroups(self._membership(group))
        if group.scope is not None and not group.scope.user:
            yield ops.reach(IN_SCOPE)
        if self.namespaces.new & kernel.CLONE_NEWCGROUP:
            yield ops.unshare(kernel.CLONE_NEWCGROUP)

    def _membership(self, group: cgroups.CgroupPlan) -> Mapping[str, str]:
        """What proves that the group was entered; paths are relative in a cgroup namespace of somebody else's."""
        if not any(kind == kernel.CLONE_NEWCGROUP for kind, _ in self.namespaces.joins):
            return group.membership
        return {controller: path.rpartition("/")[2] for controller, path in group.membership.items()}

    def _before_hooks(self) -> Iterator[ops.Op]:
        user = self.process.user
        yield from device_ops(self.spec, self.linux, bind=self.has_user_namespace)
        if self.process.terminal:
            yield ops.open_terminal(processes.console_size(self.process), user.uid, own_root=True)
        if self.linux.net_devices:
            self._own_network()
            yield ops.network_devices()
        if self.hooks.prestart or self.hooks.create_runtime:
            yield ops.reach(wire.CREATE_RUNTIME)

    def _own_network(self) -> None:
        if not self.namespaces.private & kernel.CLONE_NEWNET:
            raise NotSupported("$.linux.netDevices: give the container a network namespace to move them into")

    def _before_pivot(self) -> Iterator[ops.Op]:
        linux = self.linux
        yield from sysctl_ops(linux.sysctl, self.namespaces.private)
        yield ops.prepare_cwd(self.process.cwd)
        yield from late_ops(self.spec, self.rootfs)
        yield from protect_ops(linux)
        if self.spec.root is not None and self.spec.root.readonly:
            yield ops.root_read_only()
        yield from labels.open_label_ops(self.process, own_root=True)

    def _root_propagation(self) -> Iterator[ops.Op]:
        if self.linux.rootfs_propagation:
            yield ops.root_propagation(_propagation(self.linux.rootfs_propagation))

    def _hooks(self, container_id: str, point: str, status: str) -> Iterator[ops.Op]:
        """Those of one point.

        At the start they are programs of the container, so they get the rights of its own, and its environment.
        """
        started = point == "startContainer"
        found = self.hooks.start_container if started else self.hooks.create_container
        inherited = self.process.env if started else ()
        for number, hook in enumerate(found):
            state = state_around_pid(self.spec, container_id, self.bundle, status)
            yield ops.hook(f"{point} hook #{number}", hook, inherited, state)


def state_around_pid(spec: Spec, container_id: str, bundle: str, status: str) -> tuple[bytes, bytes]:
    """The state that hooks get on their standard input (runtime-spec runtime.md, State), cut at the pid."""
    import json

    state: dict[str, object] = {
        "ociVersion": spec.oci_version,
        "id": container_id,
        "status": status,
        "bundle": bundle,
    }
    if spec.annotations:
        state["annotations"] = dict(spec.annotations)
    text = json.dumps(state).encode()
    return text[:-1] + b', "pid": ', b"}"


def build_exec(
    kinds: int,
    target: Process,
    linux: Linux,
    *,
    may_set_groups: bool,
    detached: bool = False,
    in_scope: bool = False,
    options: RunOptions = _NO_OPTIONS,
) -> ExecPlan:
    """Plan a further process of a container: join its namespaces, then the process part of a plan."""
    if not kinds & kernel.CLONE_NEWNS:
        raise NotSupported(
            "a container without a mount namespace of its own has no exec: nobody else can enter its root"
        )
    refuse_process(target)
    operations: list[ops.Op] = [ops.reach(IN_SCOPE)] if in_scope else []
    if options.new_keyring:
        operations.append(ops.keyring("_ses.exec"))
    operations.append(ops.session())
    operations += labels.open_label_ops(target, own_root=False)
    if target.terminal:
        size = processes.console_size(target)
        operations.append(ops.open_terminal(size, target.user.uid, own_root=False))
    operations += processes.every_cpu()
    operations += processes.setup_ops(target, linux, joins=True)
    if detached:
        operations.append(ops.outlive())
    if options.listen_fds:
        operations.append(ops.listen(options.listen_fds))
    if options.home:
        operations += processes.home_ops(target)
    operations += processes.final_ops(target, compile_filter(linux.seccomp), may_set_groups=may_set_groups)
    return ExecPlan(
        operations=tuple(operations),
        kinds=kinds,
        oom_score_adj=target.oom_score_adj,
        affinity=processes.initial_affinity(target),
    )


def compile_filter(
    profile: Seccomp | None, compiler: Compiler | None = None
) -> filters.CompiledFilter | None:
    """The filter of a configuration. InvalidSpec for a wrong one, NotSupported for what cannot be had."""
    return None if profile is None else _compiled(Same(profile), compiler)


@kept(8)
def _compiled(profile: Same[Seccomp], compiler: Compiler | None) -> filters.CompiledFilter:
    return (compiler or filters.compile)(profile.value)


def _propagation(name: str) -> int:
    if name not in PROPAGATION:
        raise InvalidSpec([Problem("$.linux.rootfsPropagation", f"unknown propagation {quote(name)}")])
    return PROPAGATION[name]


def _mount_point(path: str) -> str:
    """The mount point that holds ``path``."""
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path
