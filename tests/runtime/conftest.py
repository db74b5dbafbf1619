"""Fixtures of the runtime's tests: a bundle that runs, and a runtime that must leave nothing behind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ociworks import spec
from ociworks.runtime import OCIRuntime, Runtime, RuntimeBinary
from tests.interop.peers import crun, peer
from tests.runtime.boxes import nothing_left, with_process
from tests.runtime.commands import Command, program
from tests.runtime.fixtures import bundle, root, runtime

__all__ = ["Make", "bundle", "make", "place", "root", "runtime"]

Make = Callable[[], OCIRuntime]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user can reach; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="ociworks-tests-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture(
    params=[
        "ours",
        "ociworks-runtime",
        pytest.param("runc", marks=pytest.mark.interop),
        pytest.param("crun", marks=pytest.mark.interop),
    ]
)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes runtimes of one kind, all with the same state root."""
    root = tmp_path / "state"
    if request.param == "ours":
        return lambda: Runtime(root)
    if request.param == "ociworks-runtime":
        command = program(tmp_path)
        return lambda: RuntimeBinary(command, root)
    found = crun(tmp_path) if request.param == "crun" else peer(request.param)
    return lambda: RuntimeBinary(found, root)


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    """The command with a state root of its own; nothing may be left of its containers."""
    root = tmp_path / "root"
    root.mkdir(mode=0o700)
    with nothing_left(root):
        yield Command(program(tmp_path), root, tmp_path / "log")


@pytest.fixture
def forever(bundle: spec.Bundle) -> spec.Bundle:
    """A bundle that does not end."""
    return with_process(bundle, args=("sleep", "1000"))
