"""Programs that attacks run: in a container, and as callers of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ociworks import spec
from ociworks.runtime import RunOptions, Runtime

__all__ = ["SECRET", "script", "shell"]

SECRET = "sentinel-5f2c9a"
"""What must not be seen."""


def shell(runtime: Runtime, bundle: spec.Bundle, script: str, options: RunOptions | None = None) -> str:
    """The output of a shell in a container of its own."""
    done = runtime.run(bundle, ["sh", "-c", script], capture_output=True, timeout=60, options=options)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def script(code: str, *args: str | Path, **options: object) -> str:
    """The output of a program of its own."""
    call = [sys.executable, "-c", code, *map(str, args)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return str(done.stdout)
