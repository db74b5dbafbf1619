"""The default profile of a Linux container: what ``runtime``, ``image`` and ``cri`` start from.

Every namespace but the user namespace is new, the root user keeps fourteen capabilities in three sets and none in the
other two, nothing can gain privileges, devices are a short list, and paths through which the kernel says too much or
takes orders are masked or read-only. A test holds all of it against a golden file: weakening it means editing that.

The rootless profile differs in what an ordinary user may not do: it has a user namespace that shows the caller as
root and nobody else, the host's ``/sys`` read-only (a fresh one needs more rights on many hosts), no group 5 for
terminals, no device rules. Its network namespace is new as well, so it has a loopback interface and nothing more.
"""

from __future__ import annotations

import os

from ociworks.spec.runtime import (
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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ociworks.spec.runtime import Seccomp

__all__ = [
    "CAPABILITIES",
    "DEVICE_RULES",
    "MASKED_PATHS",
    "NAMESPACES",
    "PATH",
    "READONLY_PATHS",
    "default_capabilities",
    "default_linux",
    "default_mounts",
    "default_seccomp_profile",
    "default_spec",
]

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The search path when an image names none."""

NAMESPACES: Final = ("pid", "network", "ipc", "uts", "mount", "cgroup")
"""New for every container."""

CAPABILITIES: Final = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)
"""What root in a container may do."""

MASKED_PATHS: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
"""Not to be seen: hardware, keys, and timings precise enough for side channels."""

READONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""Not to be written: these take orders for the whole host."""

_CHARACTER_DEVICES: Final[tuple[tuple[int, int | None], ...]] = (
    (1, 3),  # null
    (1, 5),  # zero
    (1, 7),  # full
    (1, 8),  # random
    (1, 9),  # urandom
    (5, 0),  # tty
    (5, 1),  # console
    (5, 2),  # ptmx
    (136, None),  # terminals of devpts
)

DEVICE_RULES: Final = (
    DeviceRule(allow=False, access="rwm"),
    DeviceRule(allow=True, type="c", access="m"),
    DeviceRule(allow=True, type="b", access="m"),
    *(
        DeviceRule(allow=True, type="c", major=major, minor=minor, access="rwm")
        for major, minor in _CHARACTER_DEVICES
    ),
)
"""First nothing, then making nodes (which opens none), then the devices that every container has."""

_NOFILE: Final = 1024
_VERSION: Final = "1.1.0"
"""The first that has everything used here: runtimes older than this package still take the bundle."""


def default_spec(*, rootless: bool = False, rootfs: str = "rootfs", readonly: bool = False) -> Spec:
    """The whole default configuration; it runs ``sh``. Change it with ``attrs.evolve``.

    Every call builds new values, and values are frozen: no container ever sees what another one was given.
    """
    process = Process(
        args=("sh",),
        env=(f"PATH={PATH}",),
        cwd="/",
        capabilities=default_capabilities(),
        rlimits=(Rlimit(type="RLIMIT_NOFILE", soft=_NOFILE, hard=_NOFILE),),
        no_new_privileges=True,
    )
    return Spec(
        oci_version=_VERSION,
        root=Root(path=rootfs, readonly=True if readonly else None),
        process=process,
        mounts=default_mounts(rootless=rootless),
        linux=default_linux(rootless=rootless),
    )


def default_capabilities() -> Capabilities:
    """Bounding, effective and permitted; never inheritable or ambient, which would reach programs of other users."""
    return Capabilities(bounding=CAPABILITIES, effective=CAPABILITIES, permitted=CAPABILITIES)


def default_mounts(*, rootless: bool = False) -> tuple[Mount, ...]:
    """The customary mounts, in order."""
    closed = ("nosuid", "noexec", "nodev")
    terminals = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")
    mounts = (
        Mount(destination="/proc", type="proc", source="proc", options=closed),
        Mount(
            destination="/dev",
            type="tmpfs",
            source="tmpfs",
            options=("nosuid", "strictatime", "mode=755", "size=65536k"),
        ),
        Mount(
            destination="/dev/pts",
            type="devpts",
            source="devpts",
            options=terminals if rootless else (*terminals, "gid=5"),
        ),
        Mount(
            destination="/dev/shm",  # noqa: S108 - the container's
            type="tmpfs",
            source="shm",
            options=(*closed, "mode=1777", "size=65536k"),
        ),
        Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=closed),
    )
    return mounts + (_rootless_sys(closed) if rootless else _sys(closed))


def default_linux(*, rootless: bool = False) -> Linux:
    """Namespaces, protected paths, seccomp; mappings when rootless, device rules when not."""
    namespaces = tuple(Namespace(type=kind) for kind in (("user", *NAMESPACES) if rootless else NAMESPACES))
    return Linux(
        namespaces=namespaces,
        uid_mappings=(IDMapping(container_id=0, host_id=os.geteuid(), size=1),) if rootless else (),
        gid_mappings=(IDMapping(container_id=0, host_id=os.getegid(), size=1),) if rootless else (),
        resources=None if rootless else Resources(devices=DEVICE_RULES),
        seccomp=default_seccomp_profile(CAPABILITIES),
        masked_paths=MASKED_PATHS,
        readonly_paths=READONLY_PATHS,
    )


def default_seccomp_profile(capabilities: tuple[str, ...]) -> Seccomp | None:
    """The default filter for a process with these capabilities on this host's architecture."""
    from ociworks.spec.defaults_seccomp import default_seccomp
    from ociworks.spec.platform import Platform

    return default_seccomp(capabilities, Platform.host().architecture)


def _sys(closed: tuple[str, ...]) -> tuple[Mount, ...]:
    return (
        Mount(destination="/sys", type="sysfs", source="sysfs", options=(*closed, "ro")),
        Mount(
            destination="/sys/fs/cgroup", type="cgroup", source="cgroup", options=(*closed, "relatime", "ro")
        ),
    )


def _rootless_sys(closed: tuple[str, ...]) -> tuple[Mount, ...]:
    return (Mount(destination="/sys", type="none", source="/sys", options=("rbind", *closed, "ro", "rro")),)
