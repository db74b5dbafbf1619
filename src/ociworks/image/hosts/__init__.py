"""Registries as this host has them configured: mirrors, certificates, proxies, short names.

::

    from ociworks.image import remote
    from ociworks.image.hosts import HostsConfig

    hosts = HostsConfig.from_environment()
    with remote.Client(hosts=hosts) as registry:
        registry.image(hosts.resolve_short_name("alpine")[0])

- ``config``: HostsConfig, the one value that a client takes.
- ``endpoint``: one place to ask, and how.
- ``registries``: ``registries.conf``; ``_registries_files`` finds and reads the files.
- ``certificates``: ``certs.d`` of Docker and Podman.
- ``hosts_toml``: ``hosts.toml`` of containerd.
- ``proxies``: proxies, and what is reached without them.
- ``_toml``: bounded reading, errors with file and key.

Which file has the say where several could: ``docs/adr``, the record on host configuration.
"""

from __future__ import annotations

from ociworks.image.hosts.config import NO_HOSTS, HostsConfig
from ociworks.image.hosts.endpoint import ClientCertificate, Endpoint, Tls
from ociworks.image.hosts.proxies import Bypass, Proxies, Proxy, UnusableProxy
from ociworks.image.hosts.registries import Mirror, Place, RegistriesConf, Rule

__all__ = [
    "NO_HOSTS",
    "Bypass",
    "ClientCertificate",
    "Endpoint",
    "HostsConfig",
    "Mirror",
    "Place",
    "Proxies",
    "Proxy",
    "RegistriesConf",
    "Rule",
    "Tls",
    "UnusableProxy",
]
