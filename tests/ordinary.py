"""An ordinary user, for tests that root runs: an interpreter and packages that this user can read."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["NOBODY", "interpreter", "readable_copy"]

NOBODY = 65534


def interpreter(user: int) -> str:
    """A Python of this version that the user may run: a pyenv in root's home is closed to others."""
    probe = "import sys; sys.exit(sys.version_info < (3, 11))"
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        try:
            done = subprocess.run(
                [candidate, "-c", probe], user=user, group=user, check=False, cwd="/", timeout=60
            )
        except OSError:
            continue
        if done.returncode == 0:
            return candidate
    pytest.skip(f"no Python 3.11 or newer that user {user} may run")


def readable_copy(library: Path, *packages: str) -> None:
    """These packages, where another user can import them."""
    library.mkdir()
    for package in packages:
        found = importlib.util.find_spec(package)
        assert found is not None
        assert found.origin is not None
        origin = Path(found.origin)
        if origin.name == "__init__.py":
            _copy_tree(origin.parent, library / package)
        else:
            shutil.copy(origin, library)
    subprocess.run(["chmod", "-R", "a+rX", library], check=True)


def _copy_tree(source: Path, target: Path) -> None:
    """Copy a package; directories of compiled code may go meanwhile, too."""
    try:
        shutil.copytree(source, target, copy_function=_copy)
    except shutil.Error as error:
        if any("/__pycache__" not in place for place, _, _ in error.args[0]):
            raise


def _copy(source: str, target: str) -> None:
    """Copy a file, unless it is compiled code that another process replaces just now."""
    try:
        shutil.copy2(source, target)
    except FileNotFoundError:
        if "/__pycache__/" not in source:
            raise
