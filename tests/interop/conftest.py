"""Programs that no package has: tests of them are collected where the environment says where the program is."""

from __future__ import annotations

import os

__all__ = ["collect_ignore"]

_NEED = {"test_conformance_suite.py": "OCI_CONFORMANCE", "test_sign_skopeo.py": "OCIWORKS_SKOPEO"}
collect_ignore = [test for test, variable in _NEED.items() if not os.environ.get(variable)]
