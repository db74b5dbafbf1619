"""Progress: bars on a terminal, lines elsewhere, nothing when quiet; only digests and numbers reach the screen."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from ociworks.cli._progress import progress
from ociworks.image import Progress
from ociworks.spec import Digest

DIGEST = Digest.of(b"blob")


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each finished blob, on standard error; nothing about what is in between."""
    with progress(quiet=False) as show:
        assert show is not None
        show(Progress(what="pull", phase="start", digest=DIGEST, done=0, total=4))
        show(Progress(what="pull", phase="transfer", digest=DIGEST, done=2, total=4))
        show(Progress(what="pull", phase="done", digest=DIGEST, done=4, total=4))
        show(Progress(what="pull", phase="skip", digest=DIGEST, done=4, total=4))
    captured = capsys.readouterr()
    short = f"sha256:{DIGEST.encoded[:12]}"
    assert captured.err.splitlines() == [f"pull {short}: 4 bytes", f"pull {short}: already there"]
    assert captured.out == ""


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """No callback, no output."""
    with progress(quiet=True) as show:
        assert show is None
    assert capsys.readouterr().err == ""


BARS = """
from ociworks.cli._progress import progress
from ociworks.image import Progress
from ociworks.spec import Digest
with progress(quiet=False) as show:
    for done in (0, 2, 4):
        show(Progress(what="pull", phase="transfer", digest=Digest.of(b"blob"), done=done, total=4))
    show(Progress(what="pull", phase="done", digest=Digest.of(b"blob"), done=4, total=4))
"""


def test_bars() -> None:
    """On a real terminal there is a bar with the blob's digest."""
    pytest.importorskip("rich")
    master, slave = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", BARS], stdin=slave, stdout=slave, stderr=slave) as shown:
        os.close(slave)
        screen = read_all(master)
    assert shown.returncode == 0, screen
    assert DIGEST.encoded[:12].encode() in screen
    assert b"\x1b[" in screen


def read_all(master: int) -> bytes:
    """Everything that is written to a terminal until its last writer is gone."""
    screen = b""
    with open(master, "rb", buffering=0) as terminal:
        while True:
            try:
                data = terminal.read(4096)
            except OSError:  # EIO: nobody holds the other side
                return screen
            if not data:
                return screen
            screen += data
