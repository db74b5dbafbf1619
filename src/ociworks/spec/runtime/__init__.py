"""The runtime specification 1.3.0 as values: config.json (`Spec`), `State`, `Features`.

One file per concern: ``config`` (Spec, Root), ``process``, ``mounts``, ``hooks``, ``linux``, ``devices``,
``resources``, ``seccomp``, ``state``, ``features``, and one per other platform: ``windows``, ``vm``, ``solaris``,
``freebsd``, ``zos``. Each is loaded when one of its names is first used, so a Linux host never loads the others.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.spec.runtime.config import VERSION, Root, Spec
    from ociworks.spec.runtime.devices import Device, DeviceRule
    from ociworks.spec.runtime.features import (
        CgroupFeatures,
        Feature,
        Features,
        IntelRdtFeatures,
        LinuxFeatures,
        MemoryPolicyFeatures,
        MountExtensions,
        SeccompFeatures,
    )
    from ociworks.spec.runtime.freebsd import FreeBSD, FreeBSDDevice, Jail, JailAllow
    from ociworks.spec.runtime.hooks import Hook, Hooks
    from ociworks.spec.runtime.linux import (
        IntelRdt,
        Linux,
        MemoryPolicy,
        Namespace,
        NetDevice,
        Personality,
        TimeOffset,
        TimeOffsets,
    )
    from ociworks.spec.runtime.mounts import IDMapping, Mount
    from ociworks.spec.runtime.process import (
        Box,
        Capabilities,
        ExecCPUAffinity,
        IOPriority,
        Process,
        Rlimit,
        Scheduler,
        User,
    )
    from ociworks.spec.runtime.resources import (
        CPU,
        BlockIO,
        HugepageLimit,
        InterfacePriority,
        Memory,
        Network,
        Pids,
        Rdma,
        Resources,
        ThrottleDevice,
        WeightDevice,
    )
    from ociworks.spec.runtime.seccomp import Seccomp, Syscall, SyscallArg
    from ociworks.spec.runtime.solaris import Anet, CappedCPU, CappedMemory, Solaris
    from ociworks.spec.runtime.state import ContainerProcessState, State
    from ociworks.spec.runtime.vm import VM, HWConfig, Hypervisor, Image, IOMem, Kernel
    from ociworks.spec.runtime.windows import (
        HyperV,
        Windows,
        WindowsCPU,
        WindowsCPUAffinity,
        WindowsDevice,
        WindowsMemory,
        WindowsNetwork,
        WindowsResources,
        WindowsStorage,
    )
    from ociworks.spec.runtime.zos import ZOS, ZOSNamespace

__all__ = [
    "CPU",
    "VERSION",
    "VM",
    "ZOS",
    "Anet",
    "BlockIO",
    "Box",
    "Capabilities",
    "CappedCPU",
    "CappedMemory",
    "CgroupFeatures",
    "ContainerProcessState",
    "Device",
    "DeviceRule",
    "ExecCPUAffinity",
    "Feature",
    "Features",
    "FreeBSD",
    "FreeBSDDevice",
    "HWConfig",
    "Hook",
    "Hooks",
    "HugepageLimit",
    "HyperV",
    "Hypervisor",
    "IDMapping",
    "IOMem",
    "IOPriority",
    "Image",
    "IntelRdt",
    "IntelRdtFeatures",
    "InterfacePriority",
    "Jail",
    "JailAllow",
    "Kernel",
    "Linux",
    "LinuxFeatures",
    "Memory",
    "MemoryPolicy",
    "MemoryPolicyFeatures",
    "Mount",
    "MountExtensions",
    "Namespace",
    "NetDevice",
    "Network",
    "Personality",
    "Pids",
    "Process",
    "Rdma",
    "Resources",
    "Rlimit",
    "Root",
    "Scheduler",
    "Seccomp",
    "SeccompFeatures",
    "Solaris",
    "Spec",
    "State",
    "Syscall",
    "SyscallArg",
    "ThrottleDevice",
    "TimeOffset",
    "TimeOffsets",
    "User",
    "WeightDevice",
    "Windows",
    "WindowsCPU",
    "WindowsCPUAffinity",
    "WindowsDevice",
    "WindowsMemory",
    "WindowsNetwork",
    "WindowsResources",
    "WindowsStorage",
    "ZOSNamespace",
]

_HOMES = {
    "config": ("Root", "Spec", "VERSION"),
    "process": (
        "Box",
        "Capabilities",
        "ExecCPUAffinity",
        "IOPriority",
        "Process",
        "Rlimit",
        "Scheduler",
        "User",
    ),
    "mounts": ("IDMapping", "Mount"),
    "hooks": ("Hook", "Hooks"),
    "linux": (
        "IntelRdt",
        "Linux",
        "MemoryPolicy",
        "Namespace",
        "NetDevice",
        "Personality",
        "TimeOffset",
        "TimeOffsets",
    ),
    "devices": ("Device", "DeviceRule"),
    "resources": (
        "BlockIO",
        "CPU",
        "HugepageLimit",
        "InterfacePriority",
        "Memory",
        "Network",
        "Pids",
        "Rdma",
        "Resources",
        "ThrottleDevice",
        "WeightDevice",
    ),
    "seccomp": ("Seccomp", "Syscall", "SyscallArg"),
    "state": ("ContainerProcessState", "State"),
    "features": (
        "CgroupFeatures",
        "Feature",
        "Features",
        "IntelRdtFeatures",
        "LinuxFeatures",
        "MemoryPolicyFeatures",
        "MountExtensions",
        "SeccompFeatures",
    ),
    "windows": (
        "HyperV",
        "Windows",
        "WindowsCPU",
        "WindowsCPUAffinity",
        "WindowsDevice",
        "WindowsMemory",
        "WindowsNetwork",
        "WindowsResources",
        "WindowsStorage",
    ),
    "vm": ("HWConfig", "Hypervisor", "IOMem", "Image", "Kernel", "VM"),
    "solaris": ("Anet", "CappedCPU", "CappedMemory", "Solaris"),
    "freebsd": ("FreeBSD", "FreeBSDDevice", "Jail", "JailAllow"),
    "zos": ("ZOS", "ZOSNamespace"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a class when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = f"{__name__}.{_HOME[name]}"
    __import__(home)
    value: object = getattr(sys.modules[home], name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
