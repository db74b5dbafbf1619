"""What this runtime can do (runtime-spec features.md), read off the tables and refusals of the code itself.

Names come from the tables that the plan uses. Whether a section is supported is found out by asking what refuses it,
so the answer cannot differ from what ``create`` does. It is about the code, not about this host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from ociworks import __version__
from ociworks._linux.capabilities import CAPABILITIES
from ociworks.errors import NotSupported
from ociworks.runtime.plan.build import compile_filter
from ociworks.runtime.plan.namespaces import KINDS
from ociworks.runtime.plan.options import KNOWN_OPTIONS
from ociworks.runtime.plan.refuse import refuse_process, refuse_unsupported
from ociworks.runtime.seccomp.names import ACTIONS, ARCHITECTURES, FLAGS, OPERATORS
from ociworks.spec import FrozenDict
from ociworks.spec.defaults import default_spec
from ociworks.spec.runtime import (
    VERSION,
    CgroupFeatures,
    Feature,
    Features,
    Hooks,
    IntelRdt,
    IntelRdtFeatures,
    Linux,
    LinuxFeatures,
    MemoryPolicy,
    MemoryPolicyFeatures,
    MountExtensions,
    NetDevice,
    Process,
    Seccomp,
    SeccompFeatures,
    Syscall,
)

__all__ = ["features"]

_OLDEST: Final = "1.0.0"
_NOTIFY: Final = "SCMP_ACT_NOTIFY"
_PROCESS: Final = Process(args=("true",), cwd="/")


def features() -> Features:
    """The answer of ``ociworks-runtime features``."""
    return Features(
        oci_version_min=_OLDEST,
        oci_version_max=VERSION,
        hooks=_hooks(),
        mount_options=KNOWN_OPTIONS,
        linux=_linux(),
        annotations=FrozenDict({"org.ociworks.version": __version__}),
        potentially_unsafe_config_annotations=(),
    )


def _hooks() -> tuple[str, ...]:
    names = (field.name for field in attrs.fields(Hooks) if field.name != "extra")
    return tuple(_camel(name) for name in names)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _linux() -> LinuxFeatures:
    return LinuxFeatures(
        namespaces=tuple(sorted(KINDS)),
        capabilities=tuple(CAPABILITIES),
        cgroup=CgroupFeatures(v1=True, v2=True, systemd=False, systemd_user=False, rdma=True),
        seccomp=SeccompFeatures(
            enabled=True,
            actions=tuple(name for name in ACTIONS if name != _NOTIFY or _takes_a_listener()),
            operators=tuple(OPERATORS),
            archs=tuple(ARCHITECTURES),
            known_flags=tuple(FLAGS),
            supported_flags=tuple(FLAGS),
        ),
        apparmor=Feature(enabled=_takes_process(attrs.evolve(_PROCESS, apparmor_profile="x"))),
        selinux=Feature(enabled=_takes_process(attrs.evolve(_PROCESS, selinux_label="x"))),
        intel_rdt=_intel_rdt(),
        memory_policy=_memory_policy(),
        mount_extensions=MountExtensions(idmap=Feature(enabled="idmap" in KNOWN_OPTIONS)),
        net_devices=Feature(enabled=_takes(Linux(net_devices=FrozenDict({"eth0": NetDevice()})))),
    )


def _takes_a_listener() -> bool:
    rule = Syscall(names=("getcwd",), action=_NOTIFY)
    profile = Seccomp(default_action="SCMP_ACT_ALLOW", listener_path="/l", syscalls=(rule,))
    return _accepts(lambda: compile_filter(profile))


def _intel_rdt() -> IntelRdtFeatures:
    enabled = _takes(Linux(intel_rdt=IntelRdt(clos_id="x")))
    return IntelRdtFeatures(enabled=enabled, schemata=enabled, monitoring=enabled)


def _memory_policy() -> MemoryPolicyFeatures | None:
    if not _takes(Linux(memory_policy=MemoryPolicy(mode="MPOL_DEFAULT"))):
        return MemoryPolicyFeatures(modes=(), flags=())
    return MemoryPolicyFeatures()


def _takes(linux: Linux) -> bool:
    """Whether a configuration with these settings is not refused as a whole."""
    spec = attrs.evolve(default_spec(), linux=linux)
    return _accepts(lambda: refuse_unsupported(spec, linux))


def _takes_process(process: Process) -> bool:
    return _accepts(lambda: refuse_process(process))


def _accepts(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except NotSupported:
        return False
    return True
