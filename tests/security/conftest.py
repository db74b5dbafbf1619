"""Fixtures of the attacks on containers: those of the runtime's tests."""

from __future__ import annotations

from tests.runtime.fixtures import bundle, root, runtime

__all__ = ["bundle", "root", "runtime"]
