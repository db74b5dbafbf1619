"""A root to unpack into, and what is outside it, which must stay as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.archives import Outside


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    with Outside.watched(tmp_path) as watched:
        yield watched


@pytest.fixture
def root(outside: Outside) -> Path:
    return outside.root
