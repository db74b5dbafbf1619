"""Files of a host that say how it talks to registries, and what comes of them."""

from __future__ import annotations

from pathlib import Path

from ociworks.image.hosts import HostsConfig
from ociworks.image.reference import Reference

__all__ = ["places", "write"]


def places(hosts: HostsConfig, name: str) -> list[str]:
    """Where an image is asked for, in order."""
    return [f"{each.registry}/{each.repository}" for each in hosts.pull_endpoints(Reference.parse(name))]


def write(path: Path, text: str) -> str:
    """A file below directories that need not be there; its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)
