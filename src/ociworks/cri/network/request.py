"""A pod's network, from the request that asks for the pod."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Final, Literal

from ociworks.cri.network.pod import Bandwidth, PodNetwork, PortMapping
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, quote
from ociworks.spec import FrozenDict

__all__ = ["parse_quantity", "pod_network"]

_INGRESS: Final = "kubernetes.io/ingress-bandwidth"
_EGRESS: Final = "kubernetes.io/egress-bandwidth"
_LEAST: Final = 1_000
"""Bits a second; less is a mistake, as is more than the next."""
_MOST: Final = 10**15
_QUANTITY: Final = re.compile(
    r"(?=[0-9.])([0-9]{0,20})(?:\.([0-9]{0,20}))?(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]{1,2}))?", re.ASCII
)
_DECIMAL: Final = ("n", "u", "m", "", "k", "M", "G", "T", "P", "E")
_BINARY: Final = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def pod_network(id: str, config: api.PodSandboxConfig, netns: str) -> PodNetwork:
    """What plugins are told of the pod ``id``. InvalidRequest names the field that says what is not allowed."""
    return PodNetwork(
        id=id,
        netns=netns,
        name=config.metadata.name,
        namespace=config.metadata.namespace,
        uid=config.metadata.uid,
        port_mappings=tuple(_port(one) for one in config.port_mappings if one.host_port),
        bandwidth=_bandwidth(config.annotations.get(_INGRESS), config.annotations.get(_EGRESS)),
        annotations=FrozenDict(config.annotations),
        cgroup_parent=config.linux.cgroup_parent,
        dns_servers=tuple(config.dns_config.servers),
        dns_searches=tuple(config.dns_config.searches),
        dns_options=tuple(config.dns_config.options),
    )


def parse_quantity(text: str) -> int:
    """A quantity of Kubernetes (``10M``, ``1.5Gi``, ``2e6``), rounded up. InvalidRequest for other text."""
    match = _QUANTITY.fullmatch(text)
    if match is None or not (match[1] or match[2]):
        raise InvalidRequest(f"expected a quantity such as 10M, got {quote(text)}")
    whole, part, suffix, exponent = match[1], match[2] or "", match[3] or "", match[4]
    number = Fraction(int(f"{whole or '0'}{part}"), 10 ** len(part))  # trusted: up to 40 ASCII digits
    if exponent:
        number *= Fraction(10) ** int(exponent)  # trusted: two ASCII digits
    elif suffix in _BINARY:
        number *= 1024 ** _BINARY.index(suffix)
    else:
        number *= Fraction(1000) ** (_DECIMAL.index(suffix) - _DECIMAL.index(""))
    return math.ceil(number)


def _port(one: api.PortMapping) -> PortMapping:
    protocols: dict[int, Literal["tcp", "udp", "sctp"]] = {
        api.Protocol.TCP: "tcp",
        api.Protocol.UDP: "udp",
        api.Protocol.SCTP: "sctp",
    }
    if one.protocol not in protocols:
        raise InvalidRequest(f"port_mappings: protocol: {one.protocol} is none")
    return PortMapping(
        host_port=one.host_port,
        container_port=one.container_port,
        protocol=protocols[one.protocol],
        host_ip=one.host_ip,
    )


def _bandwidth(ingress: str | None, egress: str | None) -> Bandwidth | None:
    if ingress is None and egress is None:
        return None
    return Bandwidth(ingress=_rate(_INGRESS, ingress), egress=_rate(_EGRESS, egress))


def _rate(name: str, text: str | None) -> int:
    if text is None:
        return 0
    try:
        rate = parse_quantity(text)
    except InvalidRequest as error:
        raise InvalidRequest(f"annotations: {name}: {error}") from None
    if not _LEAST <= rate <= _MOST:
        raise InvalidRequest(f"annotations: {name}: expected 1k to 1P, got {quote(text)}")
    return rate
