"""What holds for all tests."""

from __future__ import annotations

import os

os.environ.setdefault("OCIWORKS_UNSAFE_INSTALLATION", "1")  # a checkout belongs to whoever works on it
