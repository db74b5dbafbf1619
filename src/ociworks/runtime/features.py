"""What this runtime can do (runtime-spec features.md), read off the tables of the code itself.

Names come from the tables that the plan uses, so the answer cannot differ from what ``create`` does. It is about the
code, not about this host: a label is refused where the kernel has no module for it, and so on.
"""

from __future__ import annotations

from typing import Final

import attrs

from ociworks import __version__
from ociworks._linux.capabilities import CAPABILITIES
from ociworks.runtime.plan.namespaces import KINDS
from ociworks.runtime.plan.numa import MODE_FLAGS, MODES
from ociworks.runtime.plan.options import KNOWN_OPTIONS
from ociworks.runtime.seccomp.names import ACTIONS, ARCHITECTURES, FLAGS, OPERATORS
from ociworks.spec import FrozenDict
from ociworks.spec.runtime import (
    VERSION,
    CgroupFeatures,
    Feature,
    Features,
    Hooks,
    IntelRdtFeatures,
    LinuxFeatures,
    MemoryPolicyFeatures,
    MountExtensions,
    SeccompFeatures,
)

__all__ = ["features"]

_OLDEST: Final = "1.0.0"


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
        cgroup=CgroupFeatures(v1=True, v2=True, systemd=True, systemd_user=True, rdma=True),
        seccomp=SeccompFeatures(
            enabled=True,
            actions=tuple(ACTIONS),
            operators=tuple(OPERATORS),
            archs=tuple(ARCHITECTURES),
            known_flags=tuple(FLAGS),
            supported_flags=tuple(FLAGS),
        ),
        apparmor=Feature(enabled=True),
        selinux=Feature(enabled=True),
        intel_rdt=IntelRdtFeatures(enabled=True, schemata=True, monitoring=True),
        memory_policy=MemoryPolicyFeatures(modes=tuple(MODES), flags=tuple(MODE_FLAGS)),
        mount_extensions=MountExtensions(idmap=Feature(enabled="idmap" in KNOWN_OPTIONS)),
        net_devices=Feature(enabled=True),
    )
