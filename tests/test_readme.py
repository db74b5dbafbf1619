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
from ociworks.cli._commands import COMMANDS
from ociworks.image import Image
from ociworks.image.sign import PrivateKey
from ociworks.spec.image import Config
from tests.interop.peers import busybox
from tests.snippets import Reader, blocks
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


def _busybox() -> Image:
    """What the README calls busybox."""
    return testing.image_from_files(
        {
            "bin/busybox": testing.File(busybox().read_bytes(), 0o755),
            "bin/uname": testing.File(link="busybox"),
            **dict.fromkeys(("dev/", "proc/", "sys/"), b""),
        },
        config=Config(env=("PATH=/bin",)),
    )


@pytest.mark.userns
def test_the_example_runs(tmp_path: Path) -> None:
    """A person who pastes the example sees the progress, status 0 and what uname says in the container."""
    image = _busybox()
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


@pytest.mark.userns
def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They print what is written below them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OCIWORKS_STORE", str(tmp_path / "store"))
    Path("site").mkdir()
    Path("site/index.html").write_text("<h1>hello</h1>\n")
    Path("cosign.key").write_bytes(PrivateKey.generate().to_pem())
    with testing.Registry() as registry:
        push(_busybox(), f"{registry.host}/busybox:1.36")
        text = README.read_text("utf-8")
        shell = [block for block in blocks(text) if block.language == "console"]
        assert shell
        Reader({"registry.example": registry.host}).run(README, shell)


def test_every_command_is_named() -> None:
    """The table of commands is that of the program."""
    table = README.read_text("utf-8").partition("| the command")[2].partition("\n\n")[0]
    named = [word for words in re.findall(r"`([^`]+)`", table)[1:] for word in words.split()[:1]]
    assert sorted(named) == sorted(command.name for command in COMMANDS)
