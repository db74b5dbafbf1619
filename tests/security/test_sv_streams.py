"""SV-06: reading from the container depends on nobody: not on clients, not on the disk, not on descriptors."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import errors
from ociworks.runtime import DetachKeys, Runtime
from tests.runtime.boxes import box, nothing_left
from tests.runtime.shims import detached, knock, open_files, read_until, settled, shim_of
from tests.security.test_sv_reaping import fill, small_disk


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    """A runtime that must leave nothing behind."""
    with nothing_left(tmp_path / "root"), Runtime(tmp_path / "root") as made:
        yield made


def test_sv_06_a_client_that_never_reads(runtime: Runtime, tmp_path: Path) -> None:
    """The program runs at full speed, the log has every byte, and the client hears how much it missed."""
    script = "seq 1 400000; seq 1 100000 >&2; exit 3"
    with detached(runtime, box(tmp_path / "bundle"), script, log=tmp_path / "log") as found:
        with found.attach() as slow, found.attach(stderr=False) as vanishing:
            found.start()
            assert vanishing.read(60) is not None
            vanishing.close()
            with knock(found, runtime.root) as channel:
                channel.send(b"W")
                assert channel.recv(100)[:1] == b"X"  # the program ended although nobody read
            got = sum(len(chunk.data) for chunk in slow)
        assert found.wait(60) == 3
        written = {"stdout": bytearray(), "stderr": bytearray()}
        for record in found.logs():
            written[record.stream] += record.data
        assert written["stdout"].split() == [b"%d" % number for number in range(1, 400001)]
        assert written["stderr"].split() == [b"%d" % number for number in range(1, 100001)]
        assert 0 < got < len(written["stdout"]) + len(written["stderr"])


def test_sv_06_a_slow_client_goes_on(runtime: Runtime, tmp_path: Path) -> None:
    """What a client missed is counted to the byte, and later output comes again."""
    script = "read x; seq 1 400000; read x; echo later; read x"
    with (
        detached(runtime, box(tmp_path / "bundle"), script, stdin=True, log=tmp_path / "log") as found,
        found.attach(stdin=True) as typist,
        found.attach() as slow,
    ):
        found.start()
        typist.write(b"\n")
        read_until(typist, b"\n400000\n") if typist.missed else None
        size = len(b"".join(b"%d\n" % number for number in range(1, 400001)))
        while tmp_path.joinpath("log").stat().st_size < size:
            found.attach().close()  # a round trip at a time
        got = b""
        while len(got) + slow.missed < size:
            chunk = slow.read(60)
            assert chunk is not None
            got += chunk.data
        assert slow.missed > 0
        assert len(got) + slow.missed == size
        typist.write(b"\n")
        assert read_until(slow, b"later\n").endswith(b"later\n")


def test_sv_06_input_that_nobody_reads(runtime: Runtime, tmp_path: Path) -> None:
    """Who types into a program that does not read waits alone; the shim keeps a bounded part, the others go on."""
    with (
        detached(runtime, box(tmp_path / "bundle"), "echo up; exec sleep 1000", stdin=True) as found,
        found.attach(stdin=True, stderr=False) as typist,
        found.attach() as other,
    ):
        found.start()
        assert read_until(other, b"up\n") == b"up\n"
        failed = threading.Event()

        def type_on() -> None:
            try:
                while True:
                    typist.write(bytes(1 << 20))
            except errors.ContainerError:
                failed.set()

        thread = threading.Thread(target=type_on)
        thread.start()
        assert found.exec(["true"], timeout=60).returncode == 0
        found.attach().close()
        before = resident(shim_of(found))
        found.attach().close()
        assert resident(shim_of(found)) < before + 4096
        found.kill("KILL")
        assert list(other) == []
        thread.join(60)
        assert failed.is_set()


def resident(pid: int) -> int:
    """Kilobytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))  # trusted: the kernel's


def test_sv_06_both_ends_close(runtime: Runtime, tmp_path: Path) -> None:
    """A program that closes its input, a client that closes its side, typing after that: ordinary events."""
    script = "exec <&-; echo closed; exec >&- 2>&-; sleep 1000"
    with detached(runtime, box(tmp_path / "bundle"), script, stdin=True, log=tmp_path / "log") as found:
        with found.attach(stdin=True) as attached:
            found.start()
            assert read_until(attached, b"closed\n") == b"closed\n"
            attached.write(b"to nobody")
            attached.write(b"to nobody")
            attached.close_stdin()
            attached.write(b"after the end")
        with found.attach(stdin=True) as again:
            again.write(b"x")
        assert found.status == "running"


@pytest.mark.root
def test_sv_06_a_full_log_disk(runtime: Runtime, tmp_path: Path) -> None:
    """The program goes on; whole records are lost, counted, and the next ones are written when there is space again."""
    with small_disk(tmp_path / "disk", "512k") as disk:
        script = "read x; seq 1 50000; echo full; read x; echo again; exit 0"
        with (
            detached(runtime, box(tmp_path / "bundle"), script, log=disk / "log", stdin=True) as found,
            found.attach(stdin=True) as attached,
        ):
            found.start()
            filler = fill(disk)
            attached.write(b"\n")
            read_until(attached, b"full\n")
            filler.unlink()
            attached.write(b"\n")
            assert list(attached)[-1].data == b"again\n"
            assert found.wait(60) == 0
            assert found.exit is not None
            assert found.exit.log_lost > 0
            assert [record.data for record in found.logs()][-1] == b"again\n"


def test_sv_06_log_files_that_are_moved(runtime: Runtime, tmp_path: Path) -> None:
    """Deleted, renamed, replaced by a link: the old one is used until it is opened again, and never a link."""
    log, outside = tmp_path / "log", tmp_path / "outside"
    outside.write_bytes(b"before")
    script = "while read x; do echo $x; done"
    with (
        detached(runtime, box(tmp_path / "bundle"), script, log=log, stdin=True) as found,
        found.attach(stdin=True) as attached,
    ):
        found.start()

        def say(text: bytes) -> None:
            attached.write(text + b"\n")
            assert read_until(attached, text + b"\n") == text + b"\n"

        say(b"one")
        log.rename(tmp_path / "old")
        say(b"two")
        log.symlink_to(outside)
        with pytest.raises(errors.NotSupported):
            found.reopen_log()
        say(b"three")
        log.unlink()
        found.reopen_log()
        say(b"four")
        log.unlink()
        say(b"five")
        found.reopen_log()
        say(b"six")
        assert [line.split()[-1] for line in (tmp_path / "old").read_bytes().splitlines()] == [
            b"one",
            b"two",
            b"three",
        ]
        assert [record.data for record in found.logs()] == [b"six\n"]
        assert outside.read_bytes() == b"before"


@pytest.mark.root
def test_sv_06_no_descriptors_left(runtime: Runtime, tmp_path: Path) -> None:
    """At the limit new sessions are refused and old ones go on; after it, new ones are let in again."""
    script = "while read x; do echo $x; done"
    with (
        detached(runtime, box(tmp_path / "bundle"), script, stdin=True, log=tmp_path / "log") as found,
        found.attach(stdin=True) as attached,
    ):
        found.start()
        shim = shim_of(found)
        before = len(settled(found, runtime.root))
        limits = resource.prlimit(shim, resource.RLIMIT_NOFILE)
        highest = max(int(fd) for fd in os.listdir(f"/proc/{shim}/fd"))  # trusted: the kernel's
        resource.prlimit(shim, resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
        crowd = [knock(found, runtime.root) for _ in range(40)]
        for channel in crowd:
            channel.send(b"W") if channel.fileno() < 0 else None
        attached.write(b"still here\n")
        assert read_until(attached, b"still here\n") == b"still here\n"
        assert len(open_files(shim)) <= highest + 1
        for channel in crowd:
            channel.close()
        resource.prlimit(shim, resource.RLIMIT_NOFILE, limits)
        assert len(settled(found, runtime.root)) == before


def test_sv_06_bursts(runtime: Runtime, tmp_path: Path) -> None:
    """64 KiB at a time on both streams, as fast as it goes: each stream is whole and in order."""
    bundle = box(tmp_path / "bundle")
    data = os.urandom(64 << 10)
    bundle.rootfs.joinpath("burst").write_bytes(data)
    script = "for i in $(seq 20); do cat /burst & cat /burst >&2; wait; done"
    with detached(runtime, bundle, script, log=tmp_path / "log", log_format="json") as found:
        found.start()
        assert found.wait(120) == 0
        for stream in ("stdout", "stderr"):
            records = [record.data for record in found.logs() if record.stream == stream]
            assert b"".join(records) == data * 20


def test_sv_06_keys_to_detach() -> None:
    """Found across reads, given on when they were others; wrong names are refused."""
    keys = DetachKeys()
    assert keys.feed(b"ls\x10") == (b"ls", False)
    assert keys.feed(b"x") == (b"\x10x", False)
    assert keys.feed(b"\x10\x10\x11rest") == (b"\x10", True)
    assert DetachKeys("a,ctrl-[").feed(b"ba\x1b") == (b"b", True)
    for wrong in ("", "ctrl-", "ctrl-5", "ab", "é", "a,,b"):
        with pytest.raises(ValueError, match="a key to detach"):
            DetachKeys(wrong)
