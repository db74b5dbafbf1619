"""RT-23: messages between caller, launcher and init: whole, bounded, by the table, or refused."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ociworks import errors, spec
from ociworks.runtime import ExecOptions, Runtime
from ociworks.runtime._gate import open_gate
from ociworks.runtime._init import wire
from ociworks.runtime._progress import Follower, failure
from ociworks.runtime.launcher import Spawned
from ociworks.runtime.state import GATE, Record
from ociworks.spec.runtime import Mount
from tests.runtime.boxes import changed, with_linux, with_process


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def hostile(say: Callable[[socket.socket], object]) -> tuple[Spawned, Follower, list[str]]:
    """A follower of an init that says what ``say`` sends, and the points that it reached."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        say(theirs)
    spawned = Spawned(0, -1, socket.socket(), ours)
    reached: list[str] = []
    points = {name: lambda *fds, name=name: reached.append(name) for name in ("createRuntime", "netDevices")}
    return spawned, Follower(spawned, points), reached


def twice(to: socket.socket, kind: bytes, body: bytes, fds: Sequence[int] = ()) -> None:
    for _ in range(2):
        wire.send(to, kind, body, fds)


SPOKEN: dict[str, Callable[[socket.socket], object]] = {
    "garbage": lambda to: to.send(b"\xff\x00garbage"),
    "unknown": lambda to: wire.send(to, b"Z", b"body"),
    "the caller's own word": lambda to: wire.send(to, wire.CONTINUE),
    "the launcher's word": lambda to: wire.send(to, wire.SPAWNED, wire.pack_number(1), [0]),
    "an unknown point": lambda to: wire.send(to, wire.POINT, b"os.system"),
    "a point twice": lambda to: twice(to, wire.POINT, b"createRuntime"),
    "a point with a descriptor": lambda to: wire.send(to, wire.POINT, b"createRuntime", [0]),
    "a point without its descriptor": lambda to: wire.send(to, wire.POINT, b"netDevices"),
    "a point with two descriptors": lambda to: wire.send(to, wire.POINT, b"netDevices", [0, 0]),
    "ready with a descriptor": lambda to: wire.send(to, wire.READY, b"", [0]),
    "a failure with a descriptor": lambda to: wire.send(
        to, wire.FAILED, wire.pack_failure(1, 1, "a", "b", "c"), [0]
    ),
    "a terminal without a descriptor": lambda to: wire.send(to, wire.CONSOLE),
    "a terminal with two": lambda to: wire.send(to, wire.CONSOLE, b"", [0, 0]),
    "a terminal with twenty": lambda to: wire.send(to, wire.CONSOLE, b"", [0] * 20),
    "two terminals": lambda to: twice(to, wire.CONSOLE, b"", [0]),
    "too much": lambda to: to.send(b"E" + bytes(wire.MAX_MESSAGE)),
    "a failure without fields": lambda to: wire.send(to, wire.FAILED, b"short"),
    "a failure with too many": lambda to: wire.send(to, wire.FAILED, bytes(8) + b"a\0b\0c\0d"),
}


@pytest.mark.parametrize("words", SPOKEN)
def test_rt_23_an_init_that_says_something_else(words: str) -> None:
    """A typed error, each point at most once, and no descriptor of the init's stays open here."""
    before = descriptors()
    spawned, follower, reached = hostile(SPOKEN[words])
    try:
        with pytest.raises((errors.LauncherError, errors.CreateFailed)):
            follower.until_waiting()
    finally:
        spawned.close()
        if follower.console is not None:
            follower.console.close()
    assert reached in ([], ["createRuntime"])
    assert descriptors() == before


@pytest.mark.parametrize(
    "say", [lambda to: None, lambda to: to.send(b""), lambda to: to.shutdown(socket.SHUT_RDWR)]
)
def test_rt_23_an_init_that_says_nothing(say: Callable[[socket.socket], object]) -> None:
    """Its end is an end, also when it did not read what we said."""
    spawned, follower, _ = hostile(say)
    follower.go_on()
    assert follower.until_waiting() is False
    spawned.close()


def test_rt_23_an_init_that_ends_without_listening() -> None:
    """What we told it is lost, and the reset of the connection is an end of file to us."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    wire.send(ours, wire.CONTINUE)
    theirs.close()
    spawned = Spawned(0, -1, socket.socket(), ours)
    assert Follower(spawned).until_waiting() is False
    spawned.close()


@given(st.lists(st.tuples(st.binary(max_size=80), st.integers(0, 3)), max_size=4))
@example([(b"C\0", 0)])
def test_rt_23_whatever_an_init_says(messages: list[tuple[bytes, int]]) -> None:
    """It waits, it ended, or a typed error; never another exception, never a descriptor that stays."""

    def say(to: socket.socket) -> None:
        for data, count in messages:
            wire.send(to, data[:1], data[1:], [0] * count if data else ())

    before = descriptors()
    spawned, follower, _ = hostile(say)
    try:
        assert follower.until_waiting() in (True, False)
    except (errors.LauncherError, errors.CreateFailed):
        pass
    finally:
        spawned.close()
        if follower.console is not None:
            follower.console.close()
    assert descriptors() == before


@given(st.binary(max_size=200))
def test_rt_23_a_failure_is_an_error_whatever_it_says(body: bytes) -> None:
    """What comes from an init is text in an error, with nothing that a terminal would obey."""
    error = failure(body)
    assert isinstance(error, errors.CreateFailed)
    assert str(error).isprintable()


@given(st.binary(max_size=64), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_rt_23_frames_that_lie(body: bytes, length: int, count: int) -> None:
    """The header's numbers are compared with what came; nothing is allocated from them."""
    before = descriptors()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        ours.sendall(struct.pack("!II", length, count) + body)
        ours.shutdown(socket.SHUT_WR)
        try:
            received = wire.receive_frame(theirs)
        except (wire.ProtocolError, EOFError, ValueError, TypeError):  # the last three are marshal's
            received = None
        if received is not None:
            assert (count, received[1]) == (0, [])
            assert length <= len(body)
    assert descriptors() == before


def _behind(place: Path, say: Callable[[socket.socket], object]) -> tuple[Record, threading.Thread]:
    """A gate of our own, behind which a thread answers; and the record of a container that is this process."""
    (place / "box").mkdir(parents=True)
    gate = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    gate.bind(str(place / "box" / GATE))
    gate.listen(1)

    def answer() -> None:
        channel, _ = gate.accept()
        with gate, channel:
            wire.receive(channel)
            say(channel)

    thread = threading.Thread(target=answer)
    thread.start()
    record = Record(
        id="box", bundle="/b", rootfs="/r", oci_version="1.1.0", pid=os.getpid(), start_time=1, boot_id="",
        owner=0, created="", annotations={},
    )  # fmt: skip
    return record, thread


@pytest.mark.parametrize(
    "words", ["garbage", "unknown", "ready with a descriptor", "too much", "a terminal with twenty"]
)
def test_rt_23_an_answer_at_the_gate_that_is_none(tmp_path: Path, words: str) -> None:
    """A container has started when its first process says nothing, and not because it said something else."""
    before = descriptors()
    record, thread = _behind(tmp_path, SPOKEN[words])
    with pytest.raises(OSError, match="message"):
        open_gate(str(tmp_path), record)
    thread.join(60)
    assert descriptors() == before


LONG = "/" + "/".join(["a" * 200] * 350)
"""More than 70 000 bytes."""


@pytest.mark.parametrize("size", [2**16 - 1, 2**16, 2**16 + 1, 70_000])
def test_rt_23_long_paths_and_names(runtime: Runtime, bundle: spec.Bundle, size: int) -> None:
    """Lengths around 2¹⁶ arrive as they are: as arguments they work, as paths they are refused by name."""
    word = "x" * size
    done = runtime.run(bundle, ["sh", "-c", 'echo "${#1}"', "sh", word], capture_output=True, timeout=60)
    assert done.stdout == f"{size}\n".encode()
    for hostile_bundle in (
        changed(
            bundle, mounts=(*bundle.spec.mounts, Mount(destination=f"/{word}", type="tmpfs", source="x"))
        ),
        changed(
            bundle, mounts=(*bundle.spec.mounts, Mount(destination=LONG[:size], type="tmpfs", source="x"))
        ),
        with_linux(bundle, masked_paths=(LONG[:size],)),
        with_process(bundle, cwd=LONG[:size]),
        with_process(bundle, args=(LONG[:size],)),
    ):
        with pytest.raises((errors.CreateFailed, errors.InvalidSpec, errors.NotSupported)) as caught:
            runtime.run(hostile_bundle, capture_output=True, timeout=60)
        assert len(str(caught.value)) < 20_000


def test_rt_23_control_characters(runtime: Runtime, bundle: spec.Bundle) -> None:
    """They arrive as they are, and are refused where they would end a text; separators separate nothing."""
    odd = "a\n\t\x1b[31m\x7f,=:;\"'\\ é"
    done = runtime.run(
        with_process(bundle, env=(f"ODD={odd}", "PATH=/bin")), ["env"], capture_output=True, timeout=60
    )
    assert f"ODD={odd}\n".encode() in done.stdout
    mount = Mount(destination=f"/{odd}", type="tmpfs", source=odd)
    shown = runtime.run(
        changed(bundle, mounts=(*bundle.spec.mounts, mount)), ["cat", "/proc/self/mountinfo"],
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert sum(b"[31m" in line for line in shown.stdout.splitlines()) == 1
    assert (bundle.rootfs / odd).is_dir()
    for nul in (
        with_process(bundle, args=("a\0b",)),
        with_process(bundle, env=("A=a\0b",)),
        with_process(bundle, cwd="/a\0b"),
        changed(bundle, mounts=(*bundle.spec.mounts, Mount(destination="/a\0b", type="tmpfs", source="x"))),
        changed(bundle, hostname="a\0b"),
    ):
        with pytest.raises((errors.CreateFailed, errors.InvalidSpec, errors.NotSupported)):
            runtime.run(nul, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("args", "options"),
    [
        (["echo", "a\0b"], ExecOptions()),
        (["e\0cho"], ExecOptions()),
        (["env"], ExecOptions(env={"A": "a\0b"})),
        (["pwd"], ExecOptions(cwd="/tmp\0b")),
    ],
)
def test_rt_23_an_exec_with_null_bytes(
    runtime: Runtime, bundle: spec.Bundle, args: list[str], options: ExecOptions
) -> None:
    """The same, however a further process enters."""
    with runtime.create("nulls", bundle, ["sleep", "1000"]) as container:
        container.start()
        with pytest.raises((errors.CreateFailed, errors.InvalidSpec, errors.NotSupported)):
            container.exec(args, options=options, timeout=60)


@pytest.mark.parametrize("value", [2**16, 2**31, 2**32 - 2, 2**32, 2**32 + 7, 2**64, 2**64 + 5, -1])
def test_rt_23_numbers_at_the_edges(runtime: Runtime, bundle: spec.Bundle, value: int) -> None:
    """A user ID is that user or an error, never the remainder of a division."""
    user = spec.runtime.User(uid=value, gid=value)
    try:
        done = runtime.run(with_process(bundle, user=user), ["id", "-u"], capture_output=True, timeout=60)
    except (errors.CreateFailed, errors.InvalidSpec):
        assert not 0 <= value < 2**32 - 1 or os.geteuid() != 0
    else:
        assert done.stdout == f"{value}\n".encode()


@pytest.mark.root
def test_rt_23_very_many_mounts(runtime: Runtime, bundle: spec.Bundle) -> None:
    """100 000 mounts arrive, and the kernel, or a bound of ours, refuses them; then nothing of them is left."""
    before = Path("/proc/self/mountinfo").read_text()
    many = (
        Mount(destination="/tmp/not/there", type="bind", source="/not/there", options=("bind",)),
    ) * 100_000
    with pytest.raises((errors.CreateFailed, errors.InvalidSpec, errors.LauncherError)):
        runtime.create("many", changed(bundle, mounts=(*bundle.spec.mounts, *many)))
    assert Path("/proc/self/mountinfo").read_text() == before
    assert runtime.run(bundle, ["echo", "still"], capture_output=True, timeout=60).stdout == b"still\n"
