"""What holds for all tests."""

from __future__ import annotations

import gc
import os

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OCIWORKS_UNSAFE_INSTALLATION", "1")  # a checkout belongs to whoever works on it

# Times say nothing on a machine that others use: no example has to be quick, here as in CI.
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Thousands of tests are there to stay: garbage is looked for without looking through them each time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What is marked ``root`` is not for ordinary users."""
    if os.geteuid() != 0 and item.get_closest_marker("root") is not None:
        pytest.skip("needs root")
