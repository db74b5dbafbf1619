"""A layout to attack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks.image import layout


@pytest.fixture
def store(tmp_path: Path) -> Iterator[layout.Layout]:
    with layout.open(tmp_path / "store", create=True) as opened:
        yield opened
