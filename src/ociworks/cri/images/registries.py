"""From where images come: mirrors of the configuration, then what this host's files say of registries."""

from __future__ import annotations

from attrs import evolve

from ociworks.cri.config import CriConfig
from ociworks.errors import ConfigError, SpecError, quote
from ociworks.image.hosts import HostsConfig
from ociworks.image.origin import Url
from ociworks.image.reference import Reference
from ociworks.spec import FrozenDict

__all__ = ["hosts_of"]


def hosts_of(config: CriConfig) -> HostsConfig:
    """How registries are reached. Files are read now, so that changes count for the next pull.

    Raises :class:`~ociworks.errors.ConfigError` for mirrors that are none, and
    :class:`~ociworks.errors.HostsConfigError`.
    """
    found = HostsConfig.from_environment()
    mirrors = {_registry(name): tuple(map(_url, urls)) for name, urls in config.registry_mirrors.items()}
    return evolve(
        found,
        containerd=(*config.registry_config_dirs, *found.containerd),
        mirrors=FrozenDict(mirrors),
    )


def _registry(name: str) -> str:
    try:
        return Reference.parse(f"{name}/x/x").registry
    except SpecError as error:
        raise ConfigError(f"registry_mirrors: {error}") from None


def _url(text: str) -> Url:
    try:
        url = Url.parse(text if "://" in text else f"https://{text}")
    except SpecError as error:
        raise ConfigError(f"registry_mirrors: {quote(text)}: {error}") from None
    if url.query is not None:
        raise ConfigError(f"registry_mirrors: {quote(text)}: expected a URL without a query")
    return url
