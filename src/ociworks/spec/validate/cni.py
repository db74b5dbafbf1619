"""Rules for network configurations and results (CNI SPEC.md 1.1.0)."""

from __future__ import annotations

import re

from ociworks.errors import Problem, quote
from ociworks.spec import cni
from ociworks.spec.validate._common import check_ip, check_ip_prefix, is_interface_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

__all__ = ["RULES", "is_plugin_type"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
_MAC = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})+", re.ASCII)
_MAX_FILE_NAME: Final = 255
_KNOWN_VERSIONS: Final = ("0.1.0", "0.2.0", *cni.VERSIONS)
_CONFIGURATION: Final = "CNI section 1, Configuration format"
_PLUGIN: Final = "CNI section 1, Plugin configuration objects"
_SUCCESS: Final = "CNI section 5, ADD Success"


def is_plugin_type(text: str) -> bool:
    """Whether ``text`` can only be the name of a file in a plugin directory: never a path, option or hidden file."""
    return len(text) <= _MAX_FILE_NAME and _NAME.fullmatch(text) is not None


def _network(value: cni.NetworkConfigList, at: str) -> Iterator[Problem]:
    """Name, versions, and plugins whose configuration at rest leaves the runtime's keys alone."""
    if _NAME.fullmatch(value.name) is None:
        message = (
            f"expected letters, digits, _ . or -, beginning with a letter or digit, got {quote(value.name)}"
        )
        yield Problem(f"{at}.name", message, f"{_CONFIGURATION}, name")
    yield from _version(value.cni_version, f"{at}.cniVersion", _CONFIGURATION)
    for place, version in enumerate(value.cni_versions):
        yield from _version(version, f"{at}.cniVersions[{place}]", _CONFIGURATION)
    if value.load_only_inlined_plugins and not value.plugins:
        message = "no plugins, but loadOnlyInlinedPlugins allows no others"
        yield Problem(f"{at}.plugins", message, f"{_CONFIGURATION}, loadOnlyInlinedPlugins")
    for place, plugin in enumerate(value.plugins):
        yield from _reserved(plugin, f"{at}.plugins[{place}]")


def _reserved(value: cni.PluginConf, at: str) -> Iterator[Problem]:
    made = {
        "runtimeConfig": value.runtime_config,
        "prevResult": value.prev_result,
        "cni.dev/valid-attachments": value.valid_attachments,
    }
    used = [name for name, found in made.items() if found]
    used += [name for name in value.extra if name.startswith("cni.dev/")]
    for name in used:
        yield Problem(at, f"{quote(name)} is made by the runtime and may not be configured", _PLUGIN)


def _version(text: str | None, at: str, section: str) -> Iterator[Problem]:
    if text is not None and text not in _KNOWN_VERSIONS:
        message = f"expected a released version from {_KNOWN_VERSIONS[0]} to {cni.VERSION}, got {quote(text)}"
        yield Problem(at, message, f"{section}, cniVersion")


def _plugin(value: cni.PluginConf, at: str) -> Iterator[Problem]:
    """The type chooses a program: it is a plain name."""
    yield from _type(value.type, f"{at}.type")
    yield from _version(value.cni_version, f"{at}.cniVersion", _CONFIGURATION)


def _ipam(value: cni.IPAM, at: str) -> Iterator[Problem]:
    """So does the type of the address manager."""
    if value.type is not None:
        yield from _type(value.type, f"{at}.type")


def _type(text: str, at: str) -> Iterator[Problem]:
    if not is_plugin_type(text):
        message = f"expected the file name of a plugin, got {quote(text)}"
        yield Problem(at, message, f"{_PLUGIN}, type")


def _dns(value: cni.DNS, at: str) -> Iterator[Problem]:
    """Name servers are addresses."""
    for place, server in enumerate(value.nameservers):
        yield from check_ip(server, f"{at}.nameservers[{place}]", f"{_PLUGIN}, dns")


def _result(value: cni.Result, at: str) -> Iterator[Problem]:
    """The version has this shape; addresses belong to interfaces that are listed."""
    if value.cni_version is not None and value.cni_version not in cni.VERSIONS:
        message = (
            f"expected a version from {cni.VERSIONS[0]} to {cni.VERSION}, got {quote(value.cni_version)}"
        )
        yield Problem(f"{at}.cniVersion", message, f"{_SUCCESS}, cniVersion")
    for place, address in enumerate(value.ips):
        if address.interface is not None and address.interface >= len(value.interfaces):
            message = (
                f"expected the position of one of {len(value.interfaces)} interfaces, got {address.interface}"
            )
            yield Problem(f"{at}.ips[{place}].interface", message, f"{_SUCCESS}, ips")


def _address(value: cni.IPConfig, at: str) -> Iterator[Problem]:
    """Addresses are addresses."""
    yield from check_ip_prefix(value.address, f"{at}.address", f"{_SUCCESS}, ips")
    yield from check_ip(value.gateway or None, f"{at}.gateway", f"{_SUCCESS}, ips")


def _route(value: cni.Route, at: str) -> Iterator[Problem]:
    """Destinations are networks, gateways addresses."""
    yield from check_ip_prefix(value.dst, f"{at}.dst", f"{_SUCCESS}, routes")
    yield from check_ip(value.gw or None, f"{at}.gw", f"{_SUCCESS}, routes")


def _interface(value: cni.Interface, at: str) -> Iterator[Problem]:
    """The kernel could have such an interface."""
    section = f"{_SUCCESS}, interfaces"
    if not is_interface_name(value.name):
        yield Problem(f"{at}.name", f"expected the name of an interface, got {quote(value.name)}", section)
    if value.mac and _MAC.fullmatch(value.mac) is None:
        yield Problem(f"{at}.mac", f"expected a hardware address, got {quote(value.mac)}", section)
    for name, path in (("sandbox", value.sandbox), ("socketPath", value.socket_path)):
        if path and not path.startswith("/"):
            yield Problem(f"{at}.{name}", f"expected an absolute path, got {quote(path)}", section)


def _error(value: cni.ErrorResult, at: str) -> Iterator[Problem]:
    """The version is known."""
    yield from _version(value.cni_version, f"{at}.cniVersion", "CNI section 5, Error")


RULES = {
    "DNS": _dns,
    "ErrorResult": _error,
    "IPAM": _ipam,
    "IPConfig": _address,
    "Interface": _interface,
    "NetworkConfigList": _network,
    "PluginConf": _plugin,
    "Result": _result,
    "Route": _route,
}
