"""Rules for the platforms other than Linux: Windows, virtual machines, FreeBSD, z/OS. Solaris has none."""

from __future__ import annotations

from ociworks.errors import Problem
from ociworks.spec.validate._checks import check_absolute, check_choice, check_namespaces, check_range
from ociworks.spec.validate._common import check_ip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ociworks.spec.runtime import (
        VM,
        ZOS,
        FreeBSDDevice,
        Jail,
        Windows,
        WindowsCPU,
        WindowsCPUAffinity,
        WindowsDevice,
        WindowsNetwork,
    )

__all__ = ["RULES"]

_IMAGE_FORMATS: Final = frozenset("raw qcow2 vdi vmdk vhd".split())
_ZOS_NAMESPACES: Final = frozenset("pid mount ipc uts".split())
_SHARING: Final = frozenset({"disable", "new", "inherit"})
_SHARING_ON: Final = frozenset({"new", "inherit"})
_WINDOWS: Final = "runtime-spec config-windows.md"
_FREEBSD: Final = "runtime-spec config-freebsd.md"


def _windows(value: Windows, at: str) -> Iterator[Problem]:
    """At least one layer."""
    if not value.layer_folders:
        yield Problem(f"{at}.layerFolders", "expected at least one entry", f"{_WINDOWS}, LayerFolders")


def _windows_device(value: WindowsDevice, at: str) -> Iterator[Problem]:
    """The one known way to name a device."""
    yield from check_choice(value.id_type, {"class"}, f"{at}.idType", f"{_WINDOWS}, Devices")


def _windows_cpu(value: WindowsCPU, at: str) -> Iterator[Problem]:
    """Shares and maximum are parts of ten thousand."""
    yield from check_range(value.shares, 0, 10_000, f"{at}.shares", f"{_WINDOWS}, CPU")
    yield from check_range(value.maximum, 0, 10_000, f"{at}.maximum", f"{_WINDOWS}, CPU")


def _windows_affinity(value: WindowsCPUAffinity, at: str) -> Iterator[Problem]:
    """A mask and its group."""
    for name, number in (("mask", value.mask), ("group", value.group)):
        if number is None:
            yield Problem(f"{at}.{name}", "is required", f"{_WINDOWS}, CPU")


def _windows_network(value: WindowsNetwork, at: str) -> Iterator[Problem]:
    """A network namespace stands alone."""
    others = (
        value.endpoint_list,
        value.allow_unqualified_dns_query,
        value.dns_search_list,
        value.network_shared_container_name,
    )
    if value.network_namespace and any(others):
        yield Problem(f"{at}.networkNamespace", "excludes every other setting", f"{_WINDOWS}, Network")


def _vm(value: VM, at: str) -> Iterator[Problem]:
    """Absolute paths, and a known image format."""
    section = "runtime-spec config-vm.md"
    if value.hypervisor is not None:
        yield from check_absolute(
            value.hypervisor.path, f"{at}.hypervisor.path", f"{section}, Hypervisor Object"
        )
    yield from check_absolute(value.kernel.path, f"{at}.kernel.path", f"{section}, Kernel Object")
    yield from check_absolute(value.kernel.initrd, f"{at}.kernel.initrd", f"{section}, Kernel Object")
    if value.image is not None:
        yield from check_absolute(value.image.path, f"{at}.image.path", f"{section}, Image Object")
        yield from check_choice(
            value.image.format, _IMAGE_FORMATS, f"{at}.image.format", f"{section}, Image Object"
        )


def _freebsd_device(value: FreeBSDDevice, at: str) -> Iterator[Problem]:
    """A path, and permission bits."""
    if not value.path:
        yield Problem(f"{at}.path", "is required", f"{_FREEBSD}, Devices")
    yield from check_range(value.mode, 0, 0o777, f"{at}.mode", f"{_FREEBSD}, Devices")


def _jail(value: Jail, at: str) -> Iterator[Problem]:
    """Sharing modes, numeric addresses, and a level from 0 to 2."""
    section = f"{_FREEBSD}, Jail"
    modes = {"ip4": value.ip4, "ip6": value.ip6}
    modes |= {"sysvmsg": value.sysvmsg, "sysvsem": value.sysvsem, "sysvshm": value.sysvshm}
    for name, mode in modes.items():
        yield from check_choice(mode, _SHARING, f"{at}.{name}", section)
    for name, mode in (("host", value.host), ("vnet", value.vnet)):
        yield from check_choice(mode, _SHARING_ON, f"{at}.{name}", section)
    for name, addresses in (("ip4Addr", value.ip4_addr), ("ip6Addr", value.ip6_addr)):
        for index, address in enumerate(addresses):
            yield from check_ip(address, f"{at}.{name}[{index}]", section)
    yield from check_range(value.enforce_statfs, 0, 2, f"{at}.enforceStatfs", section)


def _zos(value: ZOS, at: str) -> Iterator[Problem]:
    """Namespaces of known types, each at most once."""
    section = "runtime-spec config-zos.md, Namespaces"
    yield from check_namespaces(value.namespaces, _ZOS_NAMESPACES, f"{at}.namespaces", section)


RULES: Final = {
    "FreeBSDDevice": _freebsd_device,
    "Jail": _jail,
    "VM": _vm,
    "Windows": _windows,
    "WindowsCPU": _windows_cpu,
    "WindowsCPUAffinity": _windows_affinity,
    "WindowsDevice": _windows_device,
    "WindowsNetwork": _windows_network,
    "ZOS": _zos,
}
