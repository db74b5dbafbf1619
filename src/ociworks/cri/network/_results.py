"""Results of plugins: read strictly, written as older versions want them, and what they say of a pod."""

from __future__ import annotations

import ipaddress

from ociworks import spec
from ociworks._values import evolve
from ociworks.errors import InvalidSpec, NetworkError, SpecError, quote
from ociworks.spec import cni
from ociworks.spec.validate import validate

__all__ = ["addresses", "as_version", "read"]

_MAX_SIZE = 1 << 20


def read(raw: bytes) -> cni.Result:
    """The result in a plugin's answer. NetworkError when it is no result of a version that is known."""
    try:
        result = spec.parse(cni.Result, raw, max_size=_MAX_SIZE)
        if problems := validate(result):
            raise InvalidSpec(problems)
    except SpecError as error:
        raise NetworkError(f"expected a CNI result: {error}") from None
    if "code" in result.extra and "msg" in result.extra:
        raise NetworkError("expected a CNI result, got an error from a plugin that ended as if all were well")
    return result


def as_version(result: cni.Result, version: str) -> cni.Result:
    """The same in another version of the specification: addresses had a ``version`` of their own before 1.0.0."""
    old = cni.VERSIONS.index(version) < cni.VERSIONS.index("1.0.0")
    ips = tuple(
        evolve(ip, version=str(ipaddress.ip_interface(ip.address).version) if old else None)
        for ip in result.ips
    )
    return evolve(result, cni_version=version, ips=ips)


def addresses(result: cni.Result, ifname: str) -> tuple[str, ...]:
    """The addresses of a pod's interface, without prefix, the first IPv4 address first.

    NetworkError when there is none, or one that cannot be a pod's.
    """
    found = [
        ipaddress.ip_interface(ip.address).ip
        for ip in result.ips
        if ip.interface is None or _is_in_pod(result.interfaces[ip.interface], ifname)
    ]
    if not found:
        raise NetworkError(f"the network plugins gave {quote(ifname)} no address")
    for address in found:
        if address.is_loopback or address.is_multicast or address.is_unspecified:
            raise NetworkError(f"the network plugins gave {quote(ifname)} the address {address}")
    first = next((address for address in found if address.version == 4), found[0])
    return tuple(dict.fromkeys(map(str, [first, *found])))


def _is_in_pod(interface: cni.Interface, ifname: str) -> bool:
    return interface.name == ifname and bool(interface.sandbox)
