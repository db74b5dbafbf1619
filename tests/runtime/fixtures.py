"""Fixtures of all tests that run containers: a bundle that runs, and a runtime that must leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import spec
from ociworks.runtime import Runtime
from tests.runtime.boxes import box, nothing_left

__all__ = ["bundle", "root", "runtime"]


@pytest.fixture
def bundle(tmp_path: Path) -> spec.Bundle:
    """A bundle with busybox and the default configuration."""
    return box(tmp_path / "bundle")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The state root of ``runtime``."""
    return tmp_path / "root"


@pytest.fixture
def runtime(root: Path) -> Iterator[Runtime]:
    """A runtime with a state root of its own; after the test nothing may be left of its containers."""
    with nothing_left(root), Runtime(root) as made:
        yield made
