"""Mounts that attacks ask for."""

from __future__ import annotations

from pathlib import Path

from ociworks.spec.runtime import Mount

__all__ = ["bind", "tmpfs"]


def tmpfs(to: str, *options: str) -> Mount:
    """An empty file system."""
    return Mount(destination=to, type="tmpfs", source="tmpfs", options=options)


def bind(source: Path | str, to: str, *options: str) -> Mount:
    """Something of the host's."""
    return Mount(destination=to, type="bind", source=str(source), options=("bind", *options))
