"""The README's example does what it says, with a registry in this process instead of the one it names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ociworks import testing
from ociworks.api import push
from ociworks.spec.image import Config
from tests.interop.peers import busybox
from tests.source_tree import CHECKOUT
from tests.test_docs import fenced

README = CHECKOUT / "README.md"


def example() -> str:
    """The first Python block of the README."""
    _, code = next(fenced(README, "python"))
    return code


def test_the_example_is_ten_lines() -> None:
    """Ten lines, not counting the empty ones."""
    assert len([line for line in example().splitlines() if line.strip()]) <= 10


def test_the_readme_starts_with_three_sentences_and_the_commands() -> None:
    """What it is, then the commands; each command is there."""
    first = README.read_text("utf-8").split("\n\n")[1]
    assert len(re.findall(r"\.(?:\s|$)", first)) == 3
    commands = re.findall(r"^    (scripts/\w+)", README.read_text("utf-8"), re.MULTILINE)
    assert commands == ["scripts/demo", "scripts/test", "scripts/check", "scripts/bench"]
    assert all(os.access(CHECKOUT / command, os.X_OK) for command in commands)


@pytest.mark.userns
def test_the_example_runs(tmp_path: Path) -> None:
    """A person who pastes the example sees the progress, status 0 and what uname says in the container."""
    image = testing.image_from_files(
        {
            "bin/busybox": testing.File(busybox().read_bytes(), 0o755),
            "bin/uname": testing.File(link="busybox"),
            **dict.fromkeys(("dev/", "proc/", "sys/"), b""),
        },
        config=Config(env=("PATH=/bin",)),
    )
    with testing.Registry() as registry:
        push(image, f"{registry.host}/busybox:1.36")
        done = subprocess.run(
            [sys.executable, "-c", example().replace("registry.example", registry.host)],
            env={**os.environ, "OCIWORKS_STORE": str(tmp_path / "store")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert f"pull done {image.layers[0].digest}" in done.stdout
    assert re.search(r"^0 Linux ", done.stdout, re.MULTILINE)
