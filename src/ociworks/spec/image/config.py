"""Image configurations (image-spec config.md); Docker's are read as the same values, the rest in ``extra``."""

from __future__ import annotations

from collections.abc import Mapping

from ociworks._values import frozen
from ociworks.spec._model import I64, KeySet, Model
from ociworks.spec.digest import Digest
from ociworks.spec.frozen import FrozenDict
from ociworks.spec.platform import Platform

__all__ = ["Config", "Healthcheck", "History", "ImageConfiguration", "RootFS"]


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Healthcheck(
    Model,
    names={
        "test": "Test",
        "interval": "Interval",
        "timeout": "Timeout",
        "start_period": "StartPeriod",
        "start_interval": "StartInterval",
        "retries": "Retries",
    },
    strict_case=True,
    nulls=True,
):
    """Docker's health check; the image specification only reserves its name. Durations are in nanoseconds."""

    test: tuple[str, ...] = ()
    """Empty: inherited; ``("NONE",)``: none; else ``CMD`` and arguments, or ``CMD-SHELL`` and one command."""
    interval: I64 | None = None
    timeout: I64 | None = None
    start_period: I64 | None = None
    start_interval: I64 | None = None
    retries: I64 | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Config(
    Model,
    names={
        "user": "User",
        "exposed_ports": "ExposedPorts",
        "env": "Env",
        "entrypoint": "Entrypoint",
        "cmd": "Cmd",
        "volumes": "Volumes",
        "working_dir": "WorkingDir",
        "labels": "Labels",
        "stop_signal": "StopSignal",
        "args_escaped": "ArgsEscaped",
        "memory": "Memory",
        "memory_swap": "MemorySwap",
        "cpu_shares": "CpuShares",
        "healthcheck": "Healthcheck",
    },
    strict_case=True,
    nulls=True,
):
    """The parameters with which the image wants to be run (config.md, ``config``)."""

    user: str | None = None
    """``user``, ``uid``, ``user:group``, ``uid:gid``, ``uid:group`` or ``user:gid``."""
    exposed_ports: KeySet = ()
    """``port``, ``port/tcp`` or ``port/udp``."""
    env: tuple[str, ...] = ()
    """``NAME=value``."""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    volumes: KeySet = ()
    """Directories that are written to."""
    working_dir: str | None = None
    labels: Mapping[str, str] = FrozenDict()
    """Metadata chosen by the image's author: never a control for a runtime."""
    stop_signal: str | None = None
    args_escaped: bool | None = None
    """Windows only, deprecated."""
    memory: I64 | None = None
    """Reserved, as are the following: bytes in Docker."""
    memory_swap: I64 | None = None
    cpu_shares: I64 | None = None
    healthcheck: Healthcheck | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class RootFS(Model, names={"diff_ids": "diff_ids"}, required=("type",), strict_case=True, nulls=True):
    """The uncompressed layers, base first (config.md, ``rootfs``)."""

    type: str = "layers"
    diff_ids: tuple[Digest, ...]

    def chain_ids(self) -> tuple[Digest, ...]:
        """The identity of the filesystem after each layer (config.md, Layer ChainID)."""
        chain: list[Digest] = []
        for diff_id in self.diff_ids:
            chain.append(Digest.of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
        return tuple(chain)


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class History(
    Model, names={"created_by": "created_by", "empty_layer": "empty_layer"}, strict_case=True, nulls=True
):
    """How a layer came to be, or, with ``empty_layer``, a step that made none (config.md, ``history``)."""

    created: str | None = None
    """RFC 3339."""
    author: str | None = None
    created_by: str | None = None
    comment: str | None = None
    empty_layer: bool | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class ImageConfiguration(
    Model, names={"os_version": "os.version", "os_features": "os.features"}, strict_case=True, nulls=True
):
    """What an image is made of and how it wants to be run; the digest of its JSON is the image's ID."""

    created: str | None = None
    """RFC 3339."""
    author: str | None = None
    architecture: str
    os: str
    os_version: str | None = None
    os_features: tuple[str, ...] = ()
    variant: str | None = None
    config: Config | None = None
    rootfs: RootFS
    history: tuple[History, ...] = ()

    @property
    def platform(self) -> Platform:
        """For what the image was built."""
        return Platform(
            os=self.os,
            architecture=self.architecture,
            variant=self.variant,
            os_version=self.os_version,
            os_features=self.os_features,
        )
