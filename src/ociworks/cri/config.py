"""How a server of the Container Runtime Interface is set up: a value, or a TOML file.

::

    root = "/var/lib/ociworks/cri"
    cgroup_driver = "systemd"
    default_handler = "ociworks"

    [handlers.runc]
    program = "/usr/sbin/runc"

    [registry_mirrors]
    "registry.k8s.io" = ["http://127.0.0.1:5000"]

Names in the file are those of the fields. An unknown name, or a value of another type, is an error.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
import typing
from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs
from attrs import field, frozen

from ociworks.errors import ConfigError, quote
from ociworks.spec import FrozenDict

__all__ = ["CriConfig", "Handler", "load"]

_MAX_FILE: Final = 1 << 20


@frozen(kw_only=True)
class Handler:
    """A runtime that pods may ask for by name (``runtime_handler``)."""

    program: str = ""
    """A runtime like runc, by its absolute path; empty for ociworks's own runtime."""
    annotations: tuple[str, ...] = ()
    """Names of pod and container annotations that reach the runtime's configuration, exactly as written here."""
    privileged_without_host_devices: bool = False
    """Whether privileged containers get no devices of the host."""
    cgroup_writable: bool = False
    """Whether ``/sys/fs/cgroup`` may be written in unprivileged containers."""

    def __attrs_post_init__(self) -> None:
        if self.program and not self.program.startswith("/"):
            raise ConfigError(f"handlers: program: expected an absolute path, got {quote(self.program)}")


@frozen(kw_only=True)
class CriConfig:
    """One server. Paths are absolute. Raises ConfigError for values that cannot be used."""

    root: str = "/var/lib/ociworks/cri"
    """What stays across restarts of the machine: images, snapshots, the writable layers of containers, the database."""
    state: str = "/run/ociworks/cri"
    """What does not: bundles, pinned namespaces, the runtime's state."""
    cgroup_driver: Literal["cgroupfs", "systemd"] = "cgroupfs"
    default_handler: str = "ociworks"
    """The runtime of pods that ask for none."""
    handlers: Mapping[str, Handler] = field(factory=FrozenDict)
    """Runtimes by name; ``ociworks`` is there unless it is named here."""
    pod_logs: tuple[str, ...] = ("/var/log/pods",)
    """Log directories of pods must lie below one of these."""
    cni_conf_dir: str = "/etc/cni/net.d"
    cni_bin_dirs: tuple[str, ...] = ("/opt/cni/bin", "/usr/lib/cni")
    cni_cache_dir: str = "/var/lib/cni/ociworks"
    cni_timeout: int = 120
    """Seconds for one plugin."""
    cni_conf_template: str = ""
    """A configuration list that becomes one when the kubelet says the node's range of addresses; empty for none."""
    cdi_spec_dirs: tuple[str, ...] = ("/etc/cdi", "/var/run/cdi")
    seccomp_profile_root: str = "/var/lib/kubelet/seccomp"
    """Localhost seccomp profiles must lie below it."""
    apparmor_default_profile: str = "ociworks-default"
    registry_mirrors: Mapping[str, tuple[str, ...]] = field(factory=FrozenDict)
    """Registry host → base URLs that are asked before it, in order; beside what this host's files say."""
    registry_config_dirs: tuple[str, ...] = ()
    """Directories with ``hosts.toml`` for each registry, as containerd has them."""
    registry_auth_file: str = ""
    """Credentials, in Docker's form, for pulls whose request brings none; empty: such pulls go without."""
    image_policy: str = ""
    """A ``policy.json`` that decides which images may be pulled; empty: all of them."""
    pinned_images: tuple[str, ...] = ()
    """References that are never offered to the kubelet's garbage collection."""
    image_pull_timeout: int = 0
    """Seconds without any progress after which a pull ends; 0: never."""
    concurrent_downloads: int = 3
    restrict_oom_score_adj: bool = False
    """Raise scores below the server's own to it, where the server may not lower any."""
    enable_unprivileged_ports: bool = True
    """``net.ipv4.ip_unprivileged_port_start=0`` in pods with a network of their own."""
    enable_unprivileged_icmp: bool = True
    """``net.ipv4.ping_group_range`` for everybody there."""
    tolerate_missing_hugetlb: bool = True
    allowed_unsafe_sysctls: tuple[str, ...] = ()
    """Beside the safe ones; a trailing ``*`` stands for anything."""
    stream_address: str = "127.0.0.1"
    stream_port: int = 0
    """0: any free one."""
    stream_tls_cert: str = ""
    stream_tls_key: str = ""
    stream_idle_timeout: int = 4 * 60 * 60
    """Seconds after which a session without traffic ends."""
    host_network_port_forward: bool = True
    """Whether ports of pods on the host's network, which are the host's own, may be forwarded."""
    stats_period: int = 10
    """Seconds between two readings of CPU use, for its rate; also the age of disk usage figures."""
    drain_exec_sync_io_timeout: int = 0
    """Seconds that ExecSync waits for output after its program ended while others hold the pipe; 0: not at all."""

    def __attrs_post_init__(self) -> None:
        self._check_paths()
        for name in self.handlers:
            if not name or len(name) > 253 or not name.replace("-", "").replace(".", "").isalnum():
                raise ConfigError(f"handlers: expected names of letters, digits, - and ., got {quote(name)}")
        if self.default_handler != "ociworks" and self.default_handler not in self.handlers:
            raise ConfigError(f"default_handler: {quote(self.default_handler)} is not among the handlers")
        if not 0 <= self.stream_port <= 65535:
            raise ConfigError(f"stream_port: expected 0 to 65535, got {self.stream_port}")
        self._check_stream_address()
        if self.image_pull_timeout < 0:
            raise ConfigError(f"image_pull_timeout: expected 0 or more, got {self.image_pull_timeout}")
        for name in ("cni_timeout", "concurrent_downloads", "stats_period", "stream_idle_timeout"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected 1 or more, got {getattr(self, name)}")

    def _check_paths(self) -> None:
        for name in ("root", "state", "cni_conf_dir", "cni_cache_dir", "seccomp_profile_root"):
            _check_path(name, getattr(self, name))
        for name in ("pod_logs", "cni_bin_dirs", "cdi_spec_dirs", "registry_config_dirs"):
            for item in getattr(self, name):
                _check_path(name, item)
        for name in ("registry_auth_file", "image_policy", "cni_conf_template"):
            if getattr(self, name):
                _check_path(name, getattr(self, name))

    def _check_stream_address(self) -> None:
        try:
            address = ipaddress.ip_address(self.stream_address)
        except ValueError:
            raise ConfigError(
                f"stream_address: expected an IP address, got {quote(self.stream_address)}"
            ) from None
        if bool(self.stream_tls_cert) != bool(self.stream_tls_key):
            raise ConfigError("stream_tls_cert and stream_tls_key: expected both or none")
        if not address.is_loopback and not self.stream_tls_cert:
            raise ConfigError(
                f"stream_address: {self.stream_address} is not loopback: set stream_tls_cert and stream_tls_key"
            )


def load(path: str | os.PathLike[str]) -> CriConfig:
    """The configuration in a TOML file. ConfigError when it cannot be read or used; it names file and key."""
    file = os.fspath(path)
    try:
        with open(file, "rb") as stream:
            raw = stream.read(_MAX_FILE + 1)
        if len(raw) > _MAX_FILE:
            raise ConfigError(f"{file}: expected at most {_MAX_FILE} bytes")
        data = tomllib.loads(raw.decode())
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: expected TOML: {quote(str(error))}") from None
    try:
        return _structure(CriConfig, data, "")
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


T = typing.TypeVar("T", CriConfig, Handler)


def _structure(kind: type[T], data: object, where: str) -> T:
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected a table")
    hints = typing.get_type_hints(kind)
    names = {item.name for item in attrs.fields(kind)}
    for name in data:
        if name not in names:
            raise ConfigError(f"{where}{name}: no such setting")
    return kind(**{name: _value(hints[name], value, f"{where}{name}") for name, value in data.items()})


def _value(kind: Any, value: object, where: str) -> Any:  # noqa: ANN401 - as the annotation says
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Handler:
        return _structure(Handler, value, f"{where}.")
    if origin is tuple and isinstance(value, list):
        return tuple(_value(arguments[0], item, f"{where}[{place}]") for place, item in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return FrozenDict(
            {name: _value(arguments[1], item, f"{where}.{name}") for name, item in value.items()}
        )
    if origin is Literal:
        if value in arguments:
            return value
        raise ConfigError(f"{where}: expected one of {', '.join(arguments)}, got {quote(str(value))}")
    if type(value) is kind:
        return value
    expected = getattr(origin or kind, "__name__", str(kind))
    raise ConfigError(f"{where}: expected {expected}, got {type(value).__name__}")


def _check_path(name: str, path: str) -> None:
    if not path.startswith("/") or "\0" in path or "/../" in f"{path}/":
        raise ConfigError(f"{name}: expected an absolute path, got {quote(path)}")
