"""What ociworks does not do yet, or never on Linux: refused before anything exists, never ignored in silence."""

from __future__ import annotations

from collections.abc import Iterator

from ociworks.errors import NotSupported
from ociworks.spec.runtime import Linux, Process, Spec

__all__ = ["refuse_process", "refuse_unsupported"]


def refuse_unsupported(spec: Spec, linux: Linux) -> None:
    """Raise NotSupported with every section of the configuration that would otherwise go unheeded."""
    found = [*_platforms(spec), *_linux(linux)]
    if found:
        raise NotSupported("; ".join(found))


def refuse_process(process: Process) -> None:
    """The same for one process, of a container or of an exec."""
    found = []
    if process.apparmor_profile:
        found.append("$.process.apparmorProfile: AppArmor profiles are not supported yet")
    if process.selinux_label:
        found.append("$.process.selinuxLabel: SELinux labels are not supported yet")
    if process.exec_cpu_affinity is not None:
        found.append("$.process.execCPUAffinity: CPU affinity of an exec is not supported yet")
    if process.command_line:
        found.append("$.process.commandLine: only Windows has a command line")
    if found:
        raise NotSupported("; ".join(found))


def _platforms(spec: Spec) -> Iterator[str]:
    for name in ("windows", "solaris", "freebsd", "vm", "zos"):
        if getattr(spec, name) is not None:
            yield f"$.{name}: this is a Linux runtime"


def _linux(linux: Linux) -> Iterator[str]:
    if linux.intel_rdt is not None:
        yield "$.linux.intelRdt: resource control is not supported yet"
    if linux.memory_policy is not None:
        yield "$.linux.memoryPolicy: memory policies are not supported yet"
    if linux.net_devices:
        yield "$.linux.netDevices: moving network devices is not supported yet"
    if linux.mount_label:
        yield "$.linux.mountLabel: SELinux labels are not supported yet"
