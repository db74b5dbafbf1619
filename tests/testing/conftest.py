"""Each test of the registry runs against both of its stores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import testing


@pytest.fixture(params=["memory", "directory"])
def options(request: pytest.FixtureRequest, tmp_path: Path) -> testing.RegistryOptions:
    directory = tmp_path / "registry" if request.param == "directory" else None
    return testing.RegistryOptions(directory=directory)


@pytest.fixture
def registry(options: testing.RegistryOptions) -> Iterator[testing.Registry]:
    with testing.Registry(options) as opened:
        yield opened
