"""A client that does not wait between its tries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ociworks.image import remote
from ociworks.image.remote import ClientOptions
from tests.image.registries import Sleeper, anonymous


@pytest.fixture
def sleeper() -> Sleeper:
    return Sleeper()


@pytest.fixture
def client(sleeper: Sleeper) -> Iterator[remote.Client]:
    with anonymous(ClientOptions(sleep=sleeper)) as made:
        yield made
