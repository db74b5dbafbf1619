"""What the tests of commands share: an image worth looking at, a registry, and the command as a function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ociworks import api
from ociworks.cli import main
from ociworks.image import Image
from ociworks.spec.image import Config
from ociworks.testing import File, image_from_layers

__all__ = ["Command", "command_in", "example", "lay_out"]

Command = Callable[..., str]
"""Runs ``ociworks ARG…`` and gives its standard output; the status is checked."""


def example() -> Image:
    """Two layers, a whiteout, a link, and a label that is not fit for a terminal."""
    return image_from_layers(
        [
            {"etc/os-release": b"ID=x\n", "bin/sh": File(b"#!", mode=0o4755), "old": b"old"},
            {"lib": File(link="usr/lib"), "usr/lib/a": b"aaa", ".wh.old": b""},
        ],
        config=Config(cmd=("/bin/sh",), env=("A=b",), user="7", labels={"note": "y\x1b[2J"}),
    )


def lay_out(folder: Path, tag: str = "app") -> str:
    """The example in a layout; gives the place."""
    where = f"oci:{folder}/layout:{tag}"
    api.copy(example(), where)
    return where


def command_in(store: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    """``ociworks`` with a store of its own."""

    def run(*arguments: str, status: int = 0) -> str:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("OCIWORKS_STORE", str(store))
            capfd.readouterr()
            found = main(arguments)
            captured = capfd.readouterr()
        assert found == status, captured.err
        return captured.out

    return run
