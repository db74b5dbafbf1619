"""containerd's ``hosts.toml``: the hosts to ask for what a registry has (containerd, docs/hosts.md).

::

    certs.d/docker.io/hosts.toml

    server = "https://registry-1.docker.io"          asked last; the registry itself unless given
    [host."https://mirror.example:5000"]             asked first, in the order of the file
      capabilities = ["pull", "resolve", "push"]     all of them unless given
      ca, client, header, skip_verify, override_path, dial_timeout

The directory is ``host_port_``, ``host:port`` or ``_default``, the first that exists; without ``hosts.toml`` in it, its
``*.crt``, ``*.cert`` and ``*.key`` are for the registry itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Final, Literal

from attrs import evolve, frozen

from ociworks.errors import quote
from ociworks.image.auth.secret import Secret
from ociworks.image.hosts import _toml
from ociworks.image.hosts.certificates import read_directory
from ociworks.image.hosts.endpoint import PLAIN_TLS, ClientCertificate, Endpoint, Tls
from ociworks.image.origin import Url
from ociworks.image.reference import DOCKER_HUB, Reference

__all__ = ["Host", "HostsFile", "find", "mirror", "read"]

_CAPABILITIES: Final = frozenset({"pull", "resolve", "push", "referrers"})
_HUB_HOSTS: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_DURATION = re.compile(r"([0-9]{1,6})(ms|s|m)", re.ASCII)
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}", re.ASCII)
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,4096}", re.ASCII)
_OURS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "range"}
)
"""Headers that frame messages or that the client must be sure of."""


@frozen(kw_only=True)
class Host:
    """One host that may be asked. A server of None is the registry of the reference."""

    server: Url | None
    root: str = "/v2"
    capabilities: frozenset[str] = _CAPABILITIES
    tls: Tls = PLAIN_TLS
    headers: tuple[tuple[str, Secret], ...] = ()
    connect_timeout: float | None = None

    def endpoint(self, reference: Reference) -> Endpoint:
        """Where this host has the reference's repository."""
        plain = Endpoint(
            registry=reference.registry,
            repository=reference.repository,
            tls=self.tls,
            root=self.root,
            headers=self.headers,
            resolves="resolve" in self.capabilities,
            connect_timeout=self.connect_timeout,
        )
        if self.server is None:
            return plain
        registry = self.server.origin.host
        if registry in _HUB_HOSTS and self.server.origin.authority == registry:
            registry = DOCKER_HUB
        else:
            registry = self.server.origin.authority
        same = registry == reference.registry
        return evolve(
            plain,
            registry=registry,
            scheme=self.server.origin.scheme,
            namespace=None if same else reference.registry,
        )


@frozen(kw_only=True)
class HostsFile:
    """What one directory says: hosts in the order in which they are asked, the server last."""

    directory: str
    hosts: tuple[Host, ...]

    def able(self, capability: Literal["pull", "resolve", "push"]) -> list[Host]:
        """The hosts that may do something."""
        return [host for host in self.hosts if capability in host.capabilities]


def mirror(url: Url) -> Host:
    """The host at a base URL, as ``[host."URL"]`` would be without anything else."""
    return Host(server=url, root=_root(url, override=False))


def find(directories: Sequence[str], registry: str) -> HostsFile | None:
    """What the first directory for a registry says; None without one. Raises ``HostsConfigError``."""
    for root in directories:
        for name in _names(registry):
            directory = os.path.join(root, name)
            if os.path.isdir(directory):
                return read(directory, shared=name == "_default")
    return None


def _names(registry: str) -> list[str]:
    host, colon, port = registry.rpartition(":")
    underscored = [f"{host}_{port}_"] if colon and not port.endswith("]") else []
    return [*underscored, registry, "_default"]


def read(directory: str, *, shared: bool = False) -> HostsFile:
    """Read a directory. ``shared``: it is for every registry, so it may not take verification away."""
    path = os.path.join(directory, "hosts.toml")
    table = _toml.load(path)
    if table is None:
        tls = read_directory(directory) or PLAIN_TLS
        return HostsFile(directory=directory, hosts=(Host(server=None, tls=tls),))
    inner = table.table("host")
    hosts = [_host(each, name, directory, shared=shared) for name, each in _each(inner)]
    return HostsFile(
        directory=directory,
        hosts=(*hosts, _host(table, table.text("server") or "", directory, shared=shared)),
    )


def _each(table: _toml.Table) -> list[tuple[str, _toml.Table]]:
    return [(name, table.table(name)) for name in table.names()]


def _host(table: _toml.Table, server: str, directory: str, *, shared: bool) -> Host:
    url = _server(table, server) if server else None
    if table.flag("skip_verify") and shared:
        raise table.error(
            "skip_verify", "expected a registry's own directory: _default would switch it off for all"
        )
    return Host(
        server=url,
        root=_root(url, override=table.flag("override_path")),
        capabilities=_capabilities(table),
        tls=Tls(
            authorities=_paths(table, "ca", directory),
            certificates=_pairs(table, directory),
            verify=not table.flag("skip_verify"),
        ),
        headers=_headers(table.table("header")),
        connect_timeout=_timeout(table),
    )


def _server(table: _toml.Table, text: str) -> Url:
    url = table.checked("server", Url.parse, text if "://" in text else f"https://{text}")
    if url.query is not None:
        raise table.error("server", "expected a URL without a query")
    return url


def _root(url: Url | None, *, override: bool) -> str:
    path = "" if url is None else url.path.rstrip("/")
    return path if override or path.endswith("/v2") else f"{path}/v2"


def _capabilities(table: _toml.Table) -> frozenset[str]:
    given = frozenset(text.lower() for text in table.texts("capabilities") or ())
    if unknown := given - _CAPABILITIES:
        names = ", ".join(sorted(_CAPABILITIES))
        raise table.error("capabilities", f"expected some of {names}, got {quote(min(unknown))}")
    return given or _CAPABILITIES


def _strings(table: _toml.Table, name: str) -> list[str]:
    """A string or an array of them."""
    value = table.raw(name)
    return [value] if isinstance(value, str) else list(table.texts(name) or ())


def _paths(table: _toml.Table, name: str, directory: str) -> tuple[str, ...]:
    return tuple(os.path.join(directory, path) for path in _strings(table, name))


def _pairs(table: _toml.Table, directory: str) -> tuple[ClientCertificate, ...]:
    """A path, an array of paths, or an array of pairs; what has no key of its own has it in the same file."""
    value = table.raw("client")
    if value is None:
        return ()
    return tuple(_pair(table, item, directory) for item in (value if isinstance(value, list) else [value]))


def _pair(table: _toml.Table, item: object, directory: str) -> ClientCertificate:
    names = [item] if isinstance(item, str) else item
    if (
        not isinstance(names, list)
        or not 1 <= len(names) <= 2
        or not all(isinstance(name, str) for name in names)
    ):
        raise table.error("client", "expected a path, or an array of paths or of pairs of paths")
    paths = [os.path.join(directory, name) for name in names if name]
    if not paths:
        raise table.error("client", "expected the path of a certificate")
    return ClientCertificate(paths[0], paths[-1])


def _headers(table: _toml.Table) -> tuple[tuple[str, Secret], ...]:
    found = []
    for name in table.names():
        if _HEADER.fullmatch(name) is None or name.lower() in _OURS:
            raise table.error(name, "expected a header that is not about framing")
        for value in _strings(table, name):
            if _HEADER_VALUE.fullmatch(value) is None:
                raise table.error(name, "expected a value of visible ASCII")
            found.append((name, Secret(value)))
    return tuple(found)


def _timeout(table: _toml.Table) -> float | None:
    text = table.text("dial_timeout")
    if text is None:
        return None
    match = _DURATION.fullmatch(text)
    if match is None:
        raise table.error("dial_timeout", f"expected a duration such as 500ms, 3s or 1m, got {quote(text)}")
    return max(0.001, float(match[1]) * _SECONDS[match[2]])
