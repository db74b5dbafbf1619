"""Fixtures of the tests of images: a registry, and a place in which nothing may be left."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import testing


@pytest.fixture
def registry() -> Iterator[testing.Registry]:
    """A registry in this process."""
    with testing.Registry() as opened:
        yield opened


@pytest.fixture
def clean(tmp_path: Path) -> Iterator[Path]:
    """The oracle "no-leak": descriptors, threads and files beside the bundle are as before."""
    descriptors, threads = set(os.listdir("/proc/self/fd")), threading.active_count()
    place = tmp_path / "place"
    place.mkdir()
    yield place
    assert set(os.listdir("/proc/self/fd")) == descriptors
    assert threading.active_count() == threads
    assert [name for name in os.listdir(place) if name != "bundle"] == []
