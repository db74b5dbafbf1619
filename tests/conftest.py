"""What holds for all tests."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("OCIWORKS_UNSAFE_INSTALLATION", "1")  # a checkout belongs to whoever works on it

# Times say nothing on a machine that others use: no example has to be quick, here as in CI.
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
