"""Copying between two terminals, tried with real pseudo-terminals and pipes; the container is played by a program."""

from __future__ import annotations

import os
import pty
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO

import pytest

from ociworks.cli._terminal import pump
from ociworks.errors import NotSupported
from ociworks.runtime.console import Console


@contextmanager
def program(*command: str) -> Iterator[tuple[Console, subprocess.Popen[bytes]]]:
    """A program on a terminal of its own, and the master of that terminal."""
    master, slave = pty.openpty()
    with (
        Console(master) as console,
        subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave) as running,
    ):
        os.close(slave)
        yield console, running
        running.kill()


@contextmanager
def pipe() -> Iterator[tuple[FileIO, FileIO]]:
    """The reading and the writing end of a pipe."""
    reader, writer = os.pipe()
    with FileIO(reader, "r") as readable, FileIO(writer, "w") as writable:
        yield readable, writable


def test_output_is_shown_until_the_terminal_closes() -> None:
    """All output arrives, though the program ended long before."""
    with program("printf", "one\ntwo\n") as (console, _), pipe() as (shown, screen):
        assert pump(console, None, screen.fileno(), time.monotonic() + 30)
        assert os.read(shown.fileno(), 100).replace(b"\r", b"") == b"one\ntwo\n"


def test_typing_reaches_the_program_and_its_end_too() -> None:
    """What comes on standard input is typed; at its end the program sees end of file."""
    with program("cat") as (console, _), pipe() as (keys, fingers), pipe() as (shown, screen):
        fingers.write(b"hello\n")
        fingers.close()
        assert pump(console, keys.fileno(), screen.fileno(), time.monotonic() + 30)
        assert os.read(shown.fileno(), 100).replace(b"\r", b"") == b"hello\nhello\n"


def test_a_deadline_ends_the_copying() -> None:
    """A program that says nothing does not hold us longer than the deadline."""
    with program("cat") as (console, _), pipe() as (_, screen):
        assert not pump(console, None, screen.fileno(), time.monotonic() + 0.05)


def test_standard_input_that_cannot_be_waited_for() -> None:
    """A regular file is refused with the reason, instead of a PermissionError of epoll."""
    with (
        program("cat") as (console, _),
        pipe() as (_, screen),
        FileIO(__file__) as file,
        pytest.raises(NotSupported, match="terminal or a pipe"),
    ):
        pump(console, file.fileno(), screen.fileno(), None)
