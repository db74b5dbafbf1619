"""Parts of a node to test: a running server with a registry that has busybox; its containers; its pods."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ociworks import testing
from ociworks.cri import CriService
from ociworks.cri.config import Handler
from ociworks.image import remote
from ociworks.spec import FrozenDict
from tests.cri.nodes import IMAGE, Client, busybox_image, config_below, serving
from tests.cri.sandboxes import Pods, pods_below, traces
from tests.cri.stands import Stand, stand
from tests.descriptors import changed_since, descriptors
from tests.interop.peers import peer


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


@pytest.fixture
def node(request: pytest.FixtureRequest, place: Path, registry: testing.Registry) -> Iterator[Stand]:
    """With our own runtime, or with somebody else's program as the default handler."""
    program = getattr(request, "param", "")
    settings: dict[str, Any] = {}
    if program:
        handlers = FrozenDict({program: Handler(program=peer(program))})
        settings = {"handlers": handlers, "default_handler": program}
    with stand(place, registry.url, **settings) as made:
        yield made


@pytest.fixture
def pods(place: Path) -> Iterator[Pods]:
    """Sandboxes below ``place``; afterwards nothing may be left of them."""
    before, opened = traces(place), descriptors()
    with pods_below(place) as made:
        yield made
        for record in made.store.sandboxes.all():
            made.network.fails.clear()
            made.sandboxes.remove(record.id)
    assert traces(place) == before
    assert not changed_since(opened)
    assert list((place / "state").glob("sandboxes/*")) == []


@pytest.fixture
def users(tmp_path: Path) -> Any:
    """A root with databases of users."""
    (tmp_path / "etc").mkdir()
    with open(tmp_path / "etc/passwd", "x") as file:
        file.write("root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n")
    with open(tmp_path / "etc/group", "x") as file:
        file.write("root:x:0:\nalice:x:1000:alice\nstaff:x:50000:alice\n")
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)
