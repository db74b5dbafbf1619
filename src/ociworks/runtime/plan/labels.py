"""Security labels: AppArmor profiles and SELinux contexts (runtime-spec config.md, Linux Process; RT-27).

====================  ===============================  ==============================================
asked                 this kernel                      then
====================  ===============================  ==============================================
nothing               any                              nothing
``unconfined``        without AppArmor                 nothing: that is what it means
a profile             without AppArmor                 NotSupported
a profile             that does not have it loaded     NotSupported
a profile             that has it, or hides its list   written for the next execve and read back, or no program
an SELinux label      without SELinux                  NotSupported
an SELinux label      with it                          written for the next execve and read back, or no program
====================  ===============================  ==============================================
"""

from __future__ import annotations

import os

from ociworks._values import evolve
from ociworks.errors import InvalidSpec, NotSupported, Problem, quote
from ociworks.runtime.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ociworks.spec.runtime import Process

__all__ = [
    "MOUNT_LABEL",
    "apparmor_enabled",
    "check_context",
    "check_mount_label",
    "label_ops",
    "open_label_ops",
    "selinux_enabled",
    "with_context",
]

MOUNT_LABEL: Final = "$.linux.mountLabel"
APPARMOR: Final = "apparmor"
SELINUX: Final = "selinux"
_UNCONFINED: Final = "unconfined"
_PROFILE: Final = r"[!#-&(-~]{1,255}"
"""Visible characters without quotes: what a kernel prints back unchanged."""
_CONTEXT: Final = r"[A-Za-z0-9_.-]+:[A-Za-z0-9_.-]+:[A-Za-z0-9_.-]+(:[A-Za-z0-9_.,:-]+)?"
_MAX_CONTEXT: Final = 4096
_MAX_PROFILES: Final = 16 << 20
_ENABLED: Final = "/sys/module/apparmor/parameters/enabled"
_PROFILES: Final = "/sys/kernel/security/apparmor/profiles"
_SELINUX: Final = "/sys/fs/selinux/enforce"
_OPTIONS: Final = {"filesystem": 3, "superblock": 2}
"""Where the options of a new file system are in an operation."""
_UNLABELLED: Final = frozenset({"proc", "sysfs", "mqueue", "cgroup", "cgroup2"})
"""File systems whose labels are the policy's own, or that take none."""


def open_label_ops(process: Process, *, own_root: bool) -> Iterator[ops.Op]:
    """Open the kernel's files for labels while a trusted procfs can be reached."""
    for kind, _ in _labels(process):
        yield ops.open_label(kind, own_root=own_root)


def label_ops(process: Process) -> Iterator[ops.Op]:
    """Label what the process will execute."""
    for kind, value in _labels(process):
        yield ops.label(kind, value)


def _labels(process: Process) -> Iterator[tuple[str, str]]:
    if process.apparmor_profile:
        yield from _apparmor(process.apparmor_profile)
    if process.selinux_label:
        _check_selinux(process.selinux_label, "$.process.selinuxLabel")
        yield SELINUX, process.selinux_label


def _apparmor(profile: str) -> Iterator[tuple[str, str]]:
    where = "$.process.apparmorProfile"
    if not _is(profile, _PROFILE):
        message = f"expected visible characters without quotes, at most 255, got {quote(profile)}"
        raise InvalidSpec([Problem(where, message)])
    if not apparmor_enabled():
        if profile == _UNCONFINED:
            return
        raise NotSupported(f"{where}: this kernel has no AppArmor, so the profile would not be in force")
    loaded = _loaded_profiles()
    if loaded is not None and profile not in loaded and profile != _UNCONFINED:
        raise NotSupported(
            f"{where}: the profile {quote(profile)} is not loaded (apparmor_parser --replace FILE)"
        )
    yield APPARMOR, profile


def apparmor_enabled() -> bool:
    """Whether the kernel enforces AppArmor profiles."""
    return _read(_ENABLED, 16).strip() == b"Y"


def selinux_enabled() -> bool:
    """Whether the kernel has an SELinux policy loaded, whether it enforces it or not."""
    return os.path.exists(_SELINUX)


def _loaded_profiles() -> frozenset[str] | None:
    """The profiles by name; None when the kernel does not show them here (no securityfs, or no right)."""
    if not os.access(_PROFILES, os.R_OK):
        return None
    names = (line.rpartition(b" (")[0] for line in _read(_PROFILES, _MAX_PROFILES).splitlines())
    return frozenset(name.decode("utf-8", "replace") for name in names)


def check_mount_label(label: str) -> None:
    """Raise for a ``linux.mountLabel`` that is none, or that this kernel cannot give to a mount."""
    _check_selinux(label, MOUNT_LABEL)


def with_context(op: ops.Op, label: str) -> ops.Op:
    """A mount operation with the SELinux context of everything in it."""
    place = _OPTIONS.get(op.name)
    options = op.args[place] if place is not None else None
    if place is None or op.args[0] in _UNLABELLED or not isinstance(options, tuple):
        return op
    if any(isinstance(option, tuple) and option[0] == "context" for option in options):
        return op
    return evolve(op, args=(*op.args[:place], (*options, ("context", label)), *op.args[place + 1 :]))


def check_context(label: str, where: str) -> None:
    """Raise InvalidSpec for what is no SELinux context."""
    if not _is(label, _CONTEXT) or len(label) > _MAX_CONTEXT:
        message = f"expected user:role:type or user:role:type:level, got {quote(label)}"
        raise InvalidSpec([Problem(where, message)])


def _check_selinux(label: str, where: str) -> None:
    check_context(label, where)
    if not selinux_enabled():
        raise NotSupported(f"{where}: this kernel has no SELinux, so the label would not be in force")


def _read(path: str, limit: int) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(limit)
    except OSError:
        return b""


def _is(text: str, pattern: str) -> bool:
    import re  # a command loads it only for a configuration with labels

    return re.fullmatch(pattern, text, re.ASCII) is not None
