"""A running server with a registry that has busybox."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import testing
from ociworks.cri import CriService
from ociworks.image import remote
from tests.cri.nodes import IMAGE, Client, busybox_image, config_below, serving


@pytest.fixture
def place() -> Iterator[Path]:
    """A short path that every user can reach, for sockets and mounts."""
    with tempfile.TemporaryDirectory(prefix="ociworks-cri-", ignore_cleanup_errors=False) as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def registry() -> Iterator[testing.Registry]:
    """A registry in this process that has busybox by the name IMAGE."""
    with testing.Registry() as made, remote.Client() as client:
        name = IMAGE.removeprefix("registry.example/")
        client.push(busybox_image(), f"{made.host}/{name}")
        yield made


@pytest.fixture
def cri(place: Path, registry: testing.Registry) -> Iterator[Client]:
    """A client of a server whose directories are below ``place``; pods that a test leaves go with it."""
    config = config_below(place, registry.url)
    with CriService(config) as service, serving(service, place) as client:
        try:
            yield client
        finally:
            for record in client.node.store.sandboxes.all():
                client.node.sandboxes.remove(record.id)
