"""The registry client that the porcelain uses where the caller brings none."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ociworks.image.remote import Client

__all__ = ["host_client"]


def host_client(insecure: Collection[str] = ()) -> Client:
    """A client that reaches registries as this host has them configured: mirrors, certificates, proxies, logins.

    ``insecure`` lists further ``host:port`` to talk to without TLS. Close it, or use it as a context manager. Raises
    :class:`~ociworks.errors.HostsConfigError` for a configuration file that is none.
    """
    from ociworks.image import remote
    from ociworks.image.hosts import HostsConfig

    return remote.Client(insecure=insecure, hosts=HostsConfig.from_environment())
