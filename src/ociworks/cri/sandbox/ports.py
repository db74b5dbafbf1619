"""Port mappings: judged before a plugin sees them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, quote

__all__ = ["check_ports"]

_MAX_PORT: Final = 65535
_MAX_PORTS: Final = 4096


def check_ports(mappings: Iterable[api.PortMapping]) -> tuple[api.PortMapping, ...]:
    """The mappings that open something on the host; those without a host port open nothing.

    An empty host address means every address of the host. InvalidRequest for ports, addresses and protocols that do
    not exist, and for the same port of the host twice.
    """
    asked = tuple(mappings)
    if len(asked) > _MAX_PORTS:
        raise InvalidRequest(f"config.port_mappings: expected at most {_MAX_PORTS}, got {len(asked)}")
    taken: set[tuple[int, int, str]] = set()
    for place, mapping in enumerate(asked):
        where = f"config.port_mappings[{place}]"
        _check(where, mapping)
        key = (mapping.protocol, mapping.host_port, mapping.host_ip)
        if mapping.host_port and key in taken:
            raise InvalidRequest(f"{where}.host_port: {mapping.host_port} is asked for twice")
        taken.add(key)
    return tuple(mapping for mapping in asked if mapping.host_port)


def _check(where: str, mapping: api.PortMapping) -> None:
    if mapping.protocol not in api.Protocol.values():
        raise InvalidRequest(f"{where}.protocol: expected TCP, UDP or SCTP, got {mapping.protocol}")
    if not 1 <= mapping.container_port <= _MAX_PORT:
        raise InvalidRequest(
            f"{where}.container_port: expected 1 to {_MAX_PORT}, got {mapping.container_port}"
        )
    if not 0 <= mapping.host_port <= _MAX_PORT:
        raise InvalidRequest(f"{where}.host_port: expected 0 to {_MAX_PORT}, got {mapping.host_port}")
    if mapping.host_ip:
        _check_address(f"{where}.host_ip", mapping.host_ip)


def _check_address(where: str, text: str) -> None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise InvalidRequest(f"{where}: expected an IP address, got {quote(text)}") from None
    if address.is_multicast or getattr(address, "scope_id", None):
        raise InvalidRequest(f"{where}: expected an address of this host, got {quote(text)}")
