"""Rules for CDI files (CDI SPEC.md 1.1.0)."""

from __future__ import annotations

import re
from typing import TypeVar

from ociworks.errors import Problem, quote
from ociworks.spec import cdi
from ociworks.spec._model import Model
from ociworks.spec._where import member
from ociworks.spec.validate._common import check_env, is_interface_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Final

__all__ = ["RULES", "minimum_version"]

V = TypeVar("V", bound=Model)

_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_VENDOR = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_MAX_VENDOR: Final = 253
_CLASS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", re.ASCII)
# The text of the specification does not name the colon, but its reference implementation and vendors use it.
_DEVICE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?", re.ASCII)
_HOOKS: Final = frozenset(
    {"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}
)
_EDITS: Final = "CDI, OCI Edits"


def _specification(value: cdi.Specification, at: str) -> Iterator[Problem]:
    """Version and kind, devices with names of their own, and no member that the version does not have."""
    if value.cdi_version not in cdi.VERSIONS:
        message = f"expected a released version from {cdi.VERSIONS[0]} to {cdi.VERSION}, got {quote(value.cdi_version)}"
        yield Problem(f"{at}.cdiVersion", message, "CDI, Specification version")
    elif cdi.VERSIONS.index(value.cdi_version) < cdi.VERSIONS.index(minimum := minimum_version(value)):
        message = f"has members that need version {minimum}, but says {value.cdi_version}"
        yield Problem(f"{at}.cdiVersion", message, "CDI, Released versions")
    yield from _kind(value.kind, f"{at}.kind")
    if not value.devices:
        yield Problem(f"{at}.devices", "expected at least one device", "CDI, CDI Devices")
    names = [device.name for device in value.devices]
    for place, name in enumerate(names):
        if name in names[:place]:
            yield Problem(f"{at}.devices[{place}].name", f"{quote(name)} occurs twice", "CDI, CDI Devices")


def _kind(text: str, at: str) -> Iterator[Problem]:
    vendor, _, name = text.partition("/")
    if len(vendor) > _MAX_VENDOR or _VENDOR.fullmatch(vendor) is None or _CLASS.fullmatch(name) is None:
        message = f"expected vendor/class, such as example.com/gpu, got {quote(text)}"
        yield Problem(at, message, "CDI, Kind")


def _device(value: cdi.Device, at: str) -> Iterator[Problem]:
    """A name, and something to do."""
    if _DEVICE.fullmatch(value.name) is None:
        message = f"expected letters, digits and _ . : - between them, got {quote(value.name)}"
        yield Problem(f"{at}.name", message, "CDI, CDI Devices, name")
    if value.container_edits == cdi.ContainerEdits():
        yield Problem(
            f"{at}.containerEdits", "expected at least one edit", "CDI, CDI Devices, containerEdits"
        )


def _edits(value: cdi.ContainerEdits, at: str) -> Iterator[Problem]:
    """The environment has its form; no interface is moved twice, or onto another."""
    yield from check_env(value.env, f"{at}.env", f"{_EDITS}, env")
    for names in zip(*((moved.host_interface_name, moved.name) for moved in value.net_devices), strict=True):
        if len(set(names)) != len(names):
            yield Problem(f"{at}.netDevices", "an interface occurs twice", f"{_EDITS}, netDevices")


def _device_node(value: cdi.DeviceNode, at: str) -> Iterator[Problem]:
    """Paths, type and permissions of a device node."""
    section = f"{_EDITS}, deviceNodes"
    yield from _absolute((("path", value.path), ("hostPath", value.host_path)), at, section)
    if value.type and value.type not in {"b", "c", "u", "p"}:
        yield Problem(f"{at}.type", f"expected b, c, u or p, got {quote(value.type)}", section)
    if value.permissions and value.permissions != "none" and set(value.permissions) - set("rwm"):
        yield Problem(
            f"{at}.permissions", f"expected r, w, m or none, got {quote(value.permissions)}", section
        )


def _absolute(paths: Iterable[tuple[str, str | None]], at: str, section: str) -> Iterator[Problem]:
    for name, path in paths:
        if path is not None and not path.startswith("/"):
            yield Problem(f"{at}.{name}", f"expected an absolute path, got {quote(path)}", section)


def _net_device(value: cdi.NetDevice, at: str) -> Iterator[Problem]:
    """Both names are names of interfaces."""
    for name, text in (("hostInterfaceName", value.host_interface_name), ("name", value.name)):
        if not is_interface_name(text):
            message = f"expected the name of an interface, got {quote(text)}"
            yield Problem(f"{at}.{name}", message, f"{_EDITS}, netDevices")


def _mount(value: cdi.Mount, at: str) -> Iterator[Problem]:
    """A source, and a place in the container."""
    section = f"{_EDITS}, mounts"
    if not value.host_path:
        yield Problem(f"{at}.hostPath", "expected a path, got ''", section)
    yield from _absolute((("containerPath", value.container_path),), at, section)


def _hook(value: cdi.Hook, at: str) -> Iterator[Problem]:
    """A hook of the runtime specification, with an absolute path."""
    section = f"{_EDITS}, hooks"
    if value.hook_name not in _HOOKS:
        message = f"expected one of {', '.join(sorted(_HOOKS))}, got {quote(value.hook_name)}"
        yield Problem(f"{at}.hookName", message, section)
    yield from _absolute((("path", value.path),), at, section)
    yield from check_env(value.env, f"{at}.env", section)
    if value.timeout is not None and value.timeout <= 0:
        yield Problem(f"{at}.timeout", f"expected more than 0 seconds, got {value.timeout}", section)


def _intel_rdt(value: cdi.IntelRdt, at: str) -> Iterator[Problem]:
    """The class of service is a directory of resctrl, or its root."""
    name = value.clos_id
    if name and name != "/" and (name in {".", ".."} or set(name) & set("/\n\0") or len(name.encode()) > 255):
        yield Problem(f"{at}.closID", f"expected a file name or /, got {quote(name)}", f"{_EDITS}, intelRdt")


def minimum_version(value: cdi.Specification) -> str:
    """The lowest version that has every member in use (CDI, Released versions)."""
    needed = [_of_device(item) for item in value.devices]
    if value.container_edits is not None:
        needed.append(_of_edits(value.container_edits))
    if value.annotations or "." in value.class_:
        needed.append("0.6.0")
    return max(needed, key=cdi.VERSIONS.index, default=cdi.VERSIONS[0])


def _of_device(value: cdi.Device) -> str:
    versions = [_of_edits(value.container_edits)]
    if value.name[:1].isdigit():
        versions.append("0.5.0")
    if value.annotations:
        versions.append("0.6.0")
    return max(versions, key=cdi.VERSIONS.index)


def _of_edits(value: cdi.ContainerEdits) -> str:
    rdt = value.intel_rdt
    if value.net_devices or (rdt and (rdt.schemata or rdt.enable_monitoring)):
        return "1.1.0"
    if rdt or value.additional_gids:
        return "0.7.0"
    if any(node.host_path for node in value.device_nodes):
        return "0.5.0"
    return "0.4.0" if any(item.type for item in value.mounts) else cdi.VERSIONS[0]


def _closed(rule: Callable[[V, str], Iterator[Problem]]) -> Callable[[V, str], Iterator[Problem]]:
    """Unlike other specifications, this one refuses members that it does not know."""

    def closed(value: V, at: str) -> Iterator[Problem]:
        for name in value.extra:
            yield Problem(at + member(name), "unknown member", "CDI, Released versions")
        yield from rule(value, at)

    return closed


RULES = {
    "ContainerEdits": _closed(_edits),
    "Device": _closed(_device),
    "DeviceNode": _closed(_device_node),
    "Hook": _closed(_hook),
    "IntelRdt": _closed(_intel_rdt),
    "Mount": _closed(_mount),
    "NetDevice": _closed(_net_device),
    "Specification": _closed(_specification),
}
