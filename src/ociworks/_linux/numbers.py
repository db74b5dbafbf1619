"""Numbers and names of the kernel that a plan is made of; unlike the calls that take them, they need no ``ctypes``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "ATTR_ATIME",
    "ATTR_IDMAP",
    "ATTR_NOATIME",
    "ATTR_NODEV",
    "ATTR_NODIRATIME",
    "ATTR_NOEXEC",
    "ATTR_NOSUID",
    "ATTR_NOSYMFOLLOW",
    "ATTR_RDONLY",
    "ATTR_RELATIME",
    "ATTR_STRICTATIME",
    "CAPABILITIES",
    "CLONE_INTO_CGROUP",
    "CLONE_NEWCGROUP",
    "CLONE_NEWIPC",
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWPID",
    "CLONE_NEWTIME",
    "CLONE_NEWUSER",
    "CLONE_NEWUTS",
    "CLONE_PARENT",
    "MS_PRIVATE",
    "MS_SHARED",
    "MS_SLAVE",
    "MS_UNBINDABLE",
    "known_capabilities",
    "last_capability",
]

CLONE_NEWTIME: Final = 0x80
CLONE_PARENT: Final = 0x8000
CLONE_NEWNS: Final = 0x20000
CLONE_NEWCGROUP: Final = 0x2000000
CLONE_NEWUTS: Final = 0x4000000
CLONE_NEWIPC: Final = 0x8000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000
CLONE_INTO_CGROUP: Final = 0x200000000

MS_UNBINDABLE: Final = 1 << 17
MS_PRIVATE: Final = 1 << 18
MS_SLAVE: Final = 1 << 19
MS_SHARED: Final = 1 << 20

ATTR_RDONLY: Final = 0x01
ATTR_NOSUID: Final = 0x02
ATTR_NODEV: Final = 0x04
ATTR_NOEXEC: Final = 0x08
ATTR_ATIME: Final = 0x70
"""The mask of the three access-time modes; relatime is zero, so changing the mode means clearing the mask."""
ATTR_RELATIME: Final = 0x00
ATTR_NOATIME: Final = 0x10
ATTR_STRICTATIME: Final = 0x20
ATTR_NODIRATIME: Final = 0x80
ATTR_NOSYMFOLLOW: Final = 0x200000
ATTR_IDMAP: Final = 0x100000

CAPABILITIES: Final = tuple(
    "CAP_" + name
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
        "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT "
        "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL "
        "SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
    ).split()
)
"""Every capability by name; the index is the kernel's number."""


def last_capability() -> int:
    """The highest capability number of the running kernel (``/proc/sys/kernel/cap_last_cap``)."""
    with open("/proc/sys/kernel/cap_last_cap", "rb") as stream:
        return int(stream.read(16))  # trusted: the kernel's


def known_capabilities() -> frozenset[str]:
    """The names of those that the running kernel has and we know."""
    return frozenset(CAPABILITIES[: last_capability() + 1])
