"""A request for a pod, judged as a whole before anything is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import frozen

from ociworks.cri.config import CriConfig
from ociworks.cri.network.request import pod_network
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.sandbox.groups import check_parent
from ociworks.cri.sandbox.logs import check_log_directory
from ociworks.cri.sandbox.names import check_hostname, reserved_name
from ociworks.cri.sandbox.options import Sharing, check_security, sharing
from ociworks.cri.sandbox.resolver import resolver_file
from ociworks.cri.sandbox.sysctls import Setting, sysctl_settings

__all__ = ["Pod", "checked"]

_PORTS: Final = {"net.ipv4.ip_unprivileged_port_start": "0"}
_ICMP: Final = {"net.ipv4.ping_group_range": "0 2147483647"}


@frozen(kw_only=True)
class Pod:
    """What a valid request says."""

    name: str
    """The key that is reserved."""
    hostname: str
    resolver: bytes
    """Empty: as the host has it."""
    sharing: Sharing
    sysctls: tuple[Setting, ...]
    cgroup_parent: str
    """A path from the root of control groups, or the name of a slice; empty for none in particular."""
    log_directory: str


def checked(config: api.PodSandboxConfig, settings: CriConfig) -> Pod:
    """Judge every field. InvalidRequest names the first that cannot be."""
    name = reserved_name(config.metadata)
    context = config.linux.security_context
    check_security(context)
    shared = sharing(context.namespace_options)
    if not shared.host_network:
        pod_network("pod", config, "")
    if config.log_directory:
        check_log_directory(config.log_directory, settings.pod_logs)
    return Pod(
        name=name,
        hostname=check_hostname(config.hostname),
        resolver=resolver_file(config.dns_config),
        sharing=shared,
        sysctls=sysctl_settings(
            config.linux.sysctls,
            shared.private,
            allowed=settings.allowed_unsafe_sysctls,
            defaults=_defaults(settings),
        ),
        cgroup_parent=check_parent(config.linux.cgroup_parent, settings.cgroup_driver),
        log_directory=config.log_directory,
    )


def _defaults(settings: CriConfig) -> Mapping[str, str]:
    """What every pod with a network of its own gets; IDs in it are the host's, as it is the host that writes it."""
    ports = _PORTS if settings.enable_unprivileged_ports else {}
    icmp = _ICMP if settings.enable_unprivileged_icmp else {}
    return {**ports, **icmp}
