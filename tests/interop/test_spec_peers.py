"""What runc and crun write, we read, judge valid, and write back equal."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TypeVar

import pytest

from ociworks import spec
from ociworks.spec import Bundle, runtime
from ociworks.spec._model import Model
from tests.interop.peers import crun, peer

M = TypeVar("M", bound=Model)

pytestmark = pytest.mark.interop


def _output(directory: Path, *command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        pytest.skip(f"{' '.join(command)} does not work here: {done.stderr.strip()}")
    return done.stdout


def _proved(cls: type[M], raw: bytes) -> M:
    value = spec.parse(cls, raw)
    again = spec.to_json(value)
    assert _filled(json.loads(again)) == _filled(json.loads(raw))
    assert spec.parse(cls, again) == value
    return value


def _filled(plain: object) -> object:
    """Without empty lists: crun writes some, and they say the same as nothing."""
    if isinstance(plain, dict):
        return {name: _filled(item) for name, item in plain.items() if item != []}
    return [_filled(item) for item in plain] if isinstance(plain, list) else plain


@pytest.mark.parametrize(
    "command",
    [("runc", "spec"), ("runc", "spec", "--rootless"), ("crun", "spec"), ("crun", "spec", "--rootless")],
    ids=" ".join,
)
def test_generated_configurations(tmp_path: Path, command: tuple[str, ...]) -> None:
    _output(tmp_path, *command)
    value = _proved(runtime.Spec, (tmp_path / "config.json").read_bytes())
    assert spec.validate(value) == []
    assert value.linux is not None
    assert value.linux.masked_paths
    assert Bundle.load(tmp_path).spec == value


def test_features(tmp_path: Path) -> None:
    """Of runc: Debian's crun does not know the command yet."""
    raw = _output(tmp_path, "runc", "features").encode()
    value = _proved(runtime.Features, raw)
    assert spec.validate(value) == []
    assert value.linux is not None
    assert value.linux.namespaces is not None
    assert "mount" in value.linux.namespaces


@pytest.mark.parametrize("program", ["runc", "crun"])
def test_our_configuration_is_taken_by_others(tmp_path: Path, program: str) -> None:
    """A program that knows the specification reads what we wrote, and gets to the missing root filesystem."""
    _output(tmp_path, program, "spec")
    bundle = Bundle.load(tmp_path)
    bundle.save()
    command = [
        crun(tmp_path) if program == "crun" else peer(program),
        "--root",
        str(tmp_path / "state"),
        "run",
        "--bundle",
        str(tmp_path),
        "ociworks-spec-peer",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode != 0
    assert "rootfs" in done.stderr
