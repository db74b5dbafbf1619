"""A client without credentials; and which tests are collected.

Tests of programs that no package has are collected where the environment says where the program is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ociworks.image import remote
from ociworks.image.auth import ANONYMOUS

__all__ = ["client", "collect_ignore"]

_NEED = {"test_conformance_suite.py": "OCI_CONFORMANCE", "test_sign_skopeo.py": "OCIWORKS_SKOPEO"}
collect_ignore = [test for test, variable in _NEED.items() if not os.environ.get(variable)]


@pytest.fixture
def client() -> Iterator[remote.Client]:
    """One that shows no credentials, whatever this user has."""
    with remote.Client(keychain=ANONYMOUS) as made:
        yield made
