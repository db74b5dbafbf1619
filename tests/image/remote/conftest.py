"""A registry, and a client that does not wait between its tries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ociworks import testing
from ociworks.image import remote
from ociworks.image.auth import ANONYMOUS
from ociworks.image.remote import ClientOptions
from tests.image.registries import Sleeper


@pytest.fixture
def sleeper() -> Sleeper:
    return Sleeper()


@pytest.fixture
def client(sleeper: Sleeper) -> Iterator[remote.Client]:
    with remote.Client(keychain=ANONYMOUS, options=ClientOptions(sleep=sleeper)) as made:
        yield made


@pytest.fixture
def registry() -> Iterator[testing.Registry]:
    with testing.Registry() as opened:
        yield opened
