"""What network plugins are told of a pod: values that are judged when they are made, and how they reach the plugins."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Final, Literal

from attrs import field, frozen

from ociworks.errors import InvalidRequest, quote
from ociworks.spec import FrozenDict, JSONValue
from ociworks.spec.validate._common import is_interface_name

__all__ = ["Bandwidth", "PodNetwork", "PortMapping"]

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)
_TOKEN: Final = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9_.-]{0,252})?", re.ASCII)
"""What can stand between ``=`` and ``;`` in CNI_ARGS and be nothing else."""
_MAX_TEXT: Final = 1 << 20
"""Characters of all annotations; Kubernetes allows a quarter of it."""
_BURST: Final = (1 << 32) - 1
"""Bits that may come at once; the rate is what was asked for."""


@frozen(kw_only=True)
class PortMapping:
    """A port of the host that leads to one of the pod. InvalidRequest for values that cannot be."""

    host_port: int
    container_port: int
    protocol: Literal["tcp", "udp", "sctp"] = "tcp"
    host_ip: str = ""
    """An address of the host; empty for all of them."""

    def __attrs_post_init__(self) -> None:
        for name, port in (("host_port", self.host_port), ("container_port", self.container_port)):
            if not 1 <= port <= 65535:
                raise InvalidRequest(f"port_mappings: {name}: expected 1 to 65535, got {port}")
        if self.protocol not in ("tcp", "udp", "sctp"):
            raise InvalidRequest(
                f"port_mappings: protocol: expected tcp, udp or sctp, got {quote(self.protocol)}"
            )
        if self.host_ip and not _is_host_address(self.host_ip):
            raise InvalidRequest(
                f"port_mappings: host_ip: expected an address of the host, got {quote(self.host_ip)}"
            )


@frozen(kw_only=True)
class Bandwidth:
    """Limits in bits a second; 0 for none."""

    ingress: int = 0
    egress: int = 0


@frozen(kw_only=True)
class PodNetwork:
    """A pod as network plugins see it. InvalidRequest for texts that could pass for something else."""

    id: str
    """The pod's ID, which is the plugins' container ID."""
    netns: str
    """The path of its pinned network namespace."""
    name: str = ""
    namespace: str = ""
    uid: str = ""
    ifname: str = "eth0"
    port_mappings: tuple[PortMapping, ...] = ()
    bandwidth: Bandwidth | None = None
    annotations: Mapping[str, str] = field(factory=FrozenDict)
    """Told to plugins that declare the capability ``io.kubernetes.cri.pod-annotations``."""
    cgroup_parent: str = ""
    dns_servers: tuple[str, ...] = ()
    dns_searches: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    capabilities: Mapping[str, JSONValue] = field(factory=FrozenDict)
    """Further ones by name, as CNI's conventions have them: ``aliases``, ``infinibandGUID``, ``mac``, ``deviceID``."""

    def __attrs_post_init__(self) -> None:
        if _ID.fullmatch(self.id) is None:
            raise InvalidRequest(f"id: expected letters, digits, _ . and -, got {quote(self.id)}")
        for name in ("name", "namespace", "uid"):
            if _TOKEN.fullmatch(getattr(self, name)) is None:
                raise InvalidRequest(
                    f"metadata: {name}: expected letters, digits, _ . and -, got {quote(getattr(self, name))}"
                )
        if not is_interface_name(self.ifname):
            raise InvalidRequest(f"expected the name of an interface, got {quote(self.ifname)}")
        if self.netns and (
            not self.netns.startswith("/") or "\0" in self.netns or "/../" in f"{self.netns}/"
        ):
            raise InvalidRequest(
                f"expected the absolute path of a network namespace, got {quote(self.netns)}"
            )
        self._check_texts()
        self._check_ports()

    def arguments(self) -> tuple[tuple[str, str], ...]:
        """CNI_ARGS, as every runtime of Kubernetes gives them."""
        return (
            ("IgnoreUnknown", "1"),
            ("K8S_POD_NAMESPACE", self.namespace),
            ("K8S_POD_NAME", self.name),
            ("K8S_POD_INFRA_CONTAINER_ID", self.id),
            ("K8S_POD_UID", self.uid),
        )

    def capability_arguments(self) -> dict[str, JSONValue]:
        """What plugins get that declare a capability (CNI CONVENTIONS.md), by its name."""
        found: dict[str, JSONValue] = {"io.kubernetes.cri.pod-annotations": FrozenDict(self.annotations)}
        if self.port_mappings:
            found["portMappings"] = tuple(FrozenDict(_mapping(one)) for one in self.port_mappings)
        if self.bandwidth is not None:
            found["bandwidth"] = FrozenDict(_limits(self.bandwidth))
        if self.dns_servers or self.dns_searches or self.dns_options:
            lists = {"servers": self.dns_servers, "searches": self.dns_searches, "options": self.dns_options}
            found["dns"] = FrozenDict(lists)
        if self.cgroup_parent:
            found["cgroupPath"] = self.cgroup_parent
        return found | dict(self.capabilities)

    def _check_texts(self) -> None:
        """What is recorded must be read again."""
        texts = {
            "annotations": [text for item in self.annotations.items() for text in item],
            "dns_config": [*self.dns_servers, *self.dns_searches, *self.dns_options],
            "cgroup_parent": [self.cgroup_parent],
        }
        for name, found in texts.items():
            if any("\0" in text for text in found) or sum(map(len, found)) > _MAX_TEXT:
                raise InvalidRequest(f"{name}: expected at most {_MAX_TEXT} characters, without NUL")

    def _check_ports(self) -> None:
        seen: set[tuple[str, str, int]] = set()
        for one in self.port_mappings:
            key = (one.protocol, one.host_ip, one.host_port)
            if key in seen:
                raise InvalidRequest(
                    f"port_mappings: {one.protocol} port {one.host_port} of the host is asked for twice"
                )
            seen.add(key)


def _mapping(one: PortMapping) -> dict[str, JSONValue]:
    found: dict[str, JSONValue] = {
        "hostPort": one.host_port,
        "containerPort": one.container_port,
        "protocol": one.protocol,
    }
    return found | ({"hostIP": one.host_ip} if one.host_ip else {})


def _limits(limits: Bandwidth) -> dict[str, JSONValue]:
    found: dict[str, JSONValue] = {}
    for name, rate in (("ingress", limits.ingress), ("egress", limits.egress)):
        if rate:
            found |= {f"{name}Rate": rate, f"{name}Burst": _BURST}
    return found


def _is_host_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text and not address.is_multicast
