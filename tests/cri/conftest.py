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
from ociworks.testing import File, image_from_files
from tests.cri.nodes import IMAGE, Client, config_below, serving
from tests.interop.peers import busybox

_APPLETS = ("sh", "true", "false", "cat", "echo", "sleep", "id", "ls", "env", "hostname", "mount", "ip", "ps")


@pytest.fixture
def place() -> Iterator[Path]:
    """A short path that every user can reach, for sockets and mounts."""
    with tempfile.TemporaryDirectory(prefix="ociworks-cri-", ignore_cleanup_errors=False) as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def registry() -> Iterator[testing.Registry]:
    """A registry in this process that has busybox by the name IMAGE."""
    files: dict[str, bytes | File] = {
        "bin/busybox": File(busybox().read_bytes(), 0o755),
        "etc/passwd": b"root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
        "etc/group": b"root:x:0:\nnobody:x:65534:\n",
        **{f"bin/{name}": File(link="busybox") for name in _APPLETS},
    }
    with testing.Registry() as made, remote.Client() as client:
        name = IMAGE.removeprefix("registry.example/")
        client.push(image_from_files(files), f"{made.host}/{name}")
        yield made


@pytest.fixture
def cri(place: Path, registry: testing.Registry) -> Iterator[Client]:
    """A client of a server whose directories are below ``place``."""
    config = config_below(place, registry.url)
    with CriService(config) as service, serving(service, place) as client:
        yield client
