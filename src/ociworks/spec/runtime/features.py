"""What a runtime can do (runtime-spec features.md).

None means that the runtime does not say; an empty list or false means that it says: nothing, or no.
"""

from __future__ import annotations

from ociworks._values import frozen
from ociworks.spec._model import Model
from ociworks.spec.frozen import FrozenDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CgroupFeatures",
    "Feature",
    "Features",
    "IntelRdtFeatures",
    "LinuxFeatures",
    "MemoryPolicyFeatures",
    "MountExtensions",
    "SeccompFeatures",
]


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Feature(Model, nulls=True):
    """A feature that is compiled in or not; None is unknown."""

    enabled: bool | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class IntelRdtFeatures(Model, nulls=True):
    """Intel RDT (runtime-spec features-linux.md, Intel RDT)."""

    enabled: bool | None = None
    schemata: bool | None = None
    monitoring: bool | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class MemoryPolicyFeatures(Model, nulls=True):
    """NUMA memory policies that the runtime recognises (runtime-spec features-linux.md, MemoryPolicy)."""

    modes: tuple[str, ...] | None = None
    flags: tuple[str, ...] | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class CgroupFeatures(Model, nulls=True):
    """Cgroup managers (runtime-spec features-linux.md, Cgroup)."""

    v1: bool | None = None
    v2: bool | None = None
    systemd: bool | None = None
    systemd_user: bool | None = None
    rdma: bool | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class SeccompFeatures(Model, nulls=True):
    """Seccomp names that the runtime recognises (runtime-spec features-linux.md, Seccomp)."""

    enabled: bool | None = None
    actions: tuple[str, ...] | None = None
    operators: tuple[str, ...] | None = None
    archs: tuple[str, ...] | None = None
    known_flags: tuple[str, ...] | None = None
    supported_flags: tuple[str, ...] | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class MountExtensions(Model, nulls=True):
    """Mount features (runtime-spec features-linux.md, MountExtensions)."""

    idmap: Feature | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class LinuxFeatures(Model, nulls=True):
    """Features on Linux (runtime-spec features-linux.md)."""

    namespaces: tuple[str, ...] | None = None
    capabilities: tuple[str, ...] | None = None
    cgroup: CgroupFeatures | None = None
    seccomp: SeccompFeatures | None = None
    apparmor: Feature | None = None
    selinux: Feature | None = None
    memory_policy: MemoryPolicyFeatures | None = None
    intel_rdt: IntelRdtFeatures | None = None
    mount_extensions: MountExtensions | None = None
    net_devices: Feature | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Features(Model, nulls=True):
    """The answer of a runtime's ``features`` command."""

    oci_version_min: str
    oci_version_max: str
    hooks: tuple[str, ...] | None = None
    mount_options: tuple[str, ...] | None = None
    linux: LinuxFeatures | None = None
    annotations: Mapping[str, str] = FrozenDict()
    potentially_unsafe_config_annotations: tuple[str, ...] | None = None
