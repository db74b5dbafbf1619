"""The program that carries out lists of system calls, on this machine and, where it can be emulated, on the other."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ociworks._linux import calls
from ociworks._linux.calls import CallList
from ociworks._linux.memfd import sealed

SOURCES = Path(__file__).parent / "calls"
MACHINES = ("x86_64", "aarch64")
PREFIXES = {"x86_64": "x86-64-linux-gnu-", "aarch64": "aarch64-linux-gnu-"}
REPORT = b"E\0\0\0\0" + b"what was to be done"
Write = Callable[[CallList], None]


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest) -> str:
    """One that runs here."""
    name: str = request.param
    if name != platform.machine() and not shutil.which(f"qemu-{name}-static"):
        pytest.skip(f"there is no {name} here, and no qemu-{name}-static")
    return name


def carried_out(machine: str, write: Write, *more: bytes) -> tuple[int, list[bytes]]:
    """The exit status of the program with this list, and what it said on descriptor 0; ``more`` it can read."""
    here = CallList(machine)
    here.report(0, REPORT)
    write(here)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        for message in (here.finish(), *more):
            ours.send(message)
        with theirs:
            status = start(machine, theirs)
        said: list[bytes] = []
        while message := ours.recv(4096):
            said.append(message)
    return status, said


def start(machine: str, channel: socket.socket) -> int:
    fd = sealed(calls.program(machine), "test")
    try:
        program = f"/proc/self/fd/{fd}"
        emulator = [] if machine == platform.machine() else [f"qemu-{machine}-static"]
        command = [*emulator, program]
        return subprocess.Popen(command, stdin=channel.fileno(), pass_fds=[fd], env={}).wait(60)
    finally:
        os.close(fd)


def failure(number: int) -> bytes:
    return struct.pack("!cI", b"E", number) + REPORT[5:]


def say(here: CallList, text: bytes) -> None:
    here.call("write", 0, here.put(text), len(text), expected=len(text))


@pytest.mark.parametrize("name", MACHINES)
def test_the_program_is_what_its_source_says(name: str, tmp_path: Path) -> None:
    """Nobody has to believe machine code: the assembler makes the same of it."""
    native = name == platform.machine()
    prefix = "" if native else PREFIXES[name]
    if not shutil.which(f"{prefix}as"):
        pytest.skip(f"there is no {prefix}as")
    code = tmp_path / "code"
    subprocess.run([f"{prefix}as", "-o", tmp_path / "object", SOURCES / f"{name}.s"], check=True)
    subprocess.run([f"{prefix}objcopy", "-O", "binary", tmp_path / "object", code], check=True)
    assert calls.program(name).endswith(code.read_bytes())


def test_one_after_the_other(machine: str) -> None:
    """Until the list says that it is over."""

    def write(here: CallList) -> None:
        say(here, b"one")
        say(here, b"two")
        here.call("exit_group", 7)

    assert carried_out(machine, write) == (7, [b"one", b"two"])


def test_a_failure_ends_it_and_is_reported(machine: str) -> None:
    """With the errno, big-endian, in the message that was prepared."""

    def write(here: CallList) -> None:
        here.call("chdir", here.text(b"/nowhere at all"))
        say(here, b"not said")

    assert carried_out(machine, write) == (255, [failure(errno.ENOENT)])


def test_equal_bytes(machine: str) -> None:
    """0 or 1, which may be expected, or lead elsewhere."""

    def write(here: CallList) -> None:
        here.call("equal", here.put(b"same one"), here.put(b"same two"), 5, expected=0)
        here.call("equal", here.put(b"same one"), here.put(b"same two"), 8, expected=1)
        same = here.call("equal", here.put(b"x"), here.put(b"x"), 1)
        say(here, b"not said")
        here.land(same)
        say(here, b"equal")
        here.call("equal", here.put(b"x"), here.put(b"y"), 1, expected=0)

    assert carried_out(machine, write) == (255, [b"equal", failure(0)])


def test_a_list_that_receives_another(machine: str) -> None:
    """And goes on in that; what came with it, too."""
    later = CallList(machine, calls.LATER)
    later.report(0, REPORT)
    say(later, b"later")
    later.call("exit_group", 9)

    def write(here: CallList) -> None:
        say(here, b"first")
        here.call("read", 0, calls.LATER, calls.LATER_SPACE)
        here.call("go", calls.LATER)

    assert carried_out(machine, write, later.finish()) == (9, [b"first", b"later"])


def test_a_second_list_has_less_room() -> None:
    """It would be written over what is behind."""
    here = CallList(base=calls.LATER)
    here.put(bytes(calls.LATER_SPACE))
    with pytest.raises(OverflowError, match=str(calls.LATER_SPACE)):
        here.finish()


def test_something_else_than_expected_is_a_failure(machine: str) -> None:
    """Without an errno."""

    def write(here: CallList) -> None:
        here.call("close", 99, expected=5, pardoned=calls.errors(errno.EBADF))
        here.call("write", 0, here.put(b"short"), 5, expected=6)
        say(here, b"not said")

    assert carried_out(machine, write) == (255, [b"short", failure(0)])


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ((b"/nowhere",), errno.ENOENT),
        ((b"/dev/null/x",), errno.ENOTDIR),
        ((b"/nowhere", b"/dev/null", b"/nowhere"), errno.EACCES),
    ],
    ids=str,
)
def test_pardoned_errors_are_remembered(machine: str, paths: tuple[bytes, ...], expected: int) -> None:
    """The last one, but that a program may not be executed says more than that another is not there."""

    def write(here: CallList) -> None:
        here.call("close", 99, pardoned=calls.errors(errno.EPERM, errno.EIO, errno.EBADF, errno.EXDEV))
        here.call("forget")
        for path in paths:
            pardoned = calls.errors(errno.ENOENT, errno.ENOTDIR, errno.EACCES)
            here.call("execve", here.text(path), 0, 0, pardoned=pardoned)
        say(here, b"none")
        here.call("fail")

    assert carried_out(machine, write) == (255, [b"none", failure(expected)])


@pytest.mark.parametrize("refused", [False, True], ids=["went well", "pardoned"])
def test_where_to_go_on(machine: str, refused: bool) -> None:
    """Elsewhere when the result is 0, which a pardoned error is not; and by what is remembered."""

    def write(here: CallList) -> None:
        path = b"/nowhere" if refused else b"/"
        there = here.call("chdir", here.text(path), pardoned=calls.errors(errno.ENOENT))
        say(here, b"refused")
        here.land(there)
        nothing = here.call("remembered")
        say(here, b"remembered")
        here.land(nothing)
        here.call("exit_group", 0)

    assert carried_out(machine, write) == (0, [b"refused", b"remembered"] if refused else [])


def test_bytes_in_memory(machine: str) -> None:
    """What a call has written can be looked at."""

    def write(here: CallList) -> None:
        here.call("chdir", here.text(b"/"))
        here.call("getcwd", calls.CURRENT_DIRECTORY, calls.PATH_SPACE, expected=2)
        here.call("compare", calls.CURRENT_DIRECTORY, ord("/"))
        say(here, b"as it should be")
        here.call("compare", calls.CURRENT_DIRECTORY, ord("("))

    assert carried_out(machine, write) == (255, [b"as it should be", failure(errno.EPERM)])


def test_a_list_that_is_too_long() -> None:
    """It is an error before anything is started."""
    here = CallList("x86_64")
    here.put(bytes(1 << 17))
    with pytest.raises(OverflowError, match="131072"):
        here.finish()


def test_no_list_at_all(machine: str) -> None:
    """The program ends."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    with theirs:
        assert start(machine, theirs) == 255
