"""Real control groups for tests: what exists, who may make them, and a process to put into them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ociworks.runtime import cgroups

__all__ = ["groups_below", "needs_groups", "no_groups_left", "sleeper"]


def needs_groups(*controllers: str) -> cgroups.Hierarchies:
    """This machine's hierarchies; skips when groups cannot be made or a controller is missing."""
    found = cgroups.detect()
    if not found.available:
        pytest.skip(found.reason)
    missing = [name for name in controllers if found.find(name) is None]
    if missing:
        pytest.skip(f"this machine has no {', '.join(missing)} controller")
    return found


def groups_below(found: cgroups.Hierarchies) -> set[str]:
    """Every group on the machine that could be ours: two levels below each mount."""
    names = set()
    for mount in found.mounts:
        for top in os.scandir(mount.mount_point):
            if top.is_dir() and "ociworks" in top.name:
                names.add(top.path)
                names.update(entry.path for entry in os.scandir(top.path) if entry.is_dir())
    return names


@contextmanager
def no_groups_left(found: cgroups.Hierarchies) -> Iterator[None]:
    """The no-leak oracle for groups of our names."""
    before = groups_below(found)
    yield
    assert groups_below(found) - before == set()


@contextmanager
def sleeper(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits until it is ended."""
    with subprocess.Popen(
        command or ("sleep", "1000"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.kill()
