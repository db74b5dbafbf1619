"""Fixtures of the attacks: those of the runtime's tests, servers, and what must stay as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import testing
from tests.cri import streams
from tests.cri.streams import Node
from tests.runtime.fixtures import bundle, root, runtime

__all__ = ["bundle", "node", "outside", "registry", "root", "runtime"]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A streaming endpoint."""
    with streams.node(tmp_path) as made:
        yield made


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host that must stay as it is."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "secret").write_text("secret")
    before = _described(place)
    yield place
    assert _described(place) == before


def _described(place: Path) -> list[tuple[str, int, int, int]]:
    found = []
    for path in (place, *sorted(place.rglob("*"))):
        info = path.lstat()
        found.append((str(path), info.st_ino, info.st_mode, info.st_mtime_ns))
    return found


@pytest.fixture
def registry() -> Iterator[testing.Registry]:
    """An honest registry."""
    with testing.Registry() as opened:
        yield opened
