"""Callers of their own that attacks run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["SECRET", "script"]

SECRET = "sentinel-5f2c9a"
"""What must not be seen."""


def script(code: str, *args: str | Path, **options: object) -> str:
    """The output of a program of its own."""
    call = [sys.executable, "-c", code, *map(str, args)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return str(done.stdout)
