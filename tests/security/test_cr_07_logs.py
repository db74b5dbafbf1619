"""CR-07: what a program writes cannot look like a record of ours, and cannot fill or stop more than its own log."""

from __future__ import annotations

import os
import re
import resource
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.runtime.shim.logfile import LogFile
from ociworks.runtime.shim.records import LIMIT, Clock, Records

NOW = b"2026-01-31T12:00:00.123456789Z"
RECORD = re.compile(rb"(\S+) (stdout|stderr) ([FP]) ([^\n]*)\n")


def read(log: bytes, stream: bytes = b"stdout") -> bytes:
    """What a reader such as the kubelet makes of the records of one stream; every byte belongs to a record."""
    found = list(RECORD.finditer(log))
    assert b"".join(match[0] for match in found) == log
    ours = (match for match in found if match[2] == stream)
    return b"".join(match[4] + (b"\n" if match[3] == b"F" else b"") for match in ours)


def test_cr_07_lines_that_look_like_records() -> None:
    """They are content of the record that we frame."""
    fake = b"2026-01-01T00:00:00Z stdout F fake\r2026-01-01T00:00:00Z stderr F fake\x00\xff\xfe\n"
    log = Records(b"stdout", "cri").feed(fake, NOW)
    assert log == NOW + b" stdout F " + fake
    assert read(log) == fake
    assert read(log, b"stderr") == b""


@given(st.lists(st.binary(max_size=300) | st.sampled_from([b"\n", b"\r", b"x" * (LIMIT + 1)]), max_size=20))
def test_cr_07_bytes_are_kept(pieces: list[bytes]) -> None:
    """Whatever is written in whatever pieces, it comes back; no record is longer than the limit."""
    records = Records(b"stdout", "cri")
    log = b"".join(records.feed(piece, NOW) for piece in pieces) + records.end(NOW)
    assert read(log) == b"".join(pieces)
    assert all(len(match[4]) <= LIMIT for match in RECORD.finditer(log))


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=40)), max_size=30))
def test_cr_07_interleaved_parts_of_lines(writes: list[tuple[bool, bytes]]) -> None:
    """Two streams do not mix, however their lines are cut."""
    streams = {False: Records(b"stdout", "cri"), True: Records(b"stderr", "cri")}
    log = b"".join(streams[which].feed(data, NOW) for which, data in writes)
    log += streams[False].end(NOW) + streams[True].end(NOW)
    assert read(log, b"stdout") == b"".join(data for which, data in writes if not which)
    assert read(log, b"stderr") == b"".join(data for which, data in writes if which)


def test_cr_07_a_gigabyte_without_an_end() -> None:
    """Memory is bounded: a line is cut while it comes."""
    records = Records(b"stdout", "cri")
    piece = b"x" * (1 << 16)
    records.feed(piece, NOW)
    tracemalloc.start()
    try:
        for _ in range(1 << 14):
            assert records.feed(piece, NOW)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@contextmanager
def log_file(place: Path, size: int = 0, files: int = 2) -> Iterator[LogFile]:
    directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        log = LogFile(directory, "log", size, files)
        yield log
        log.close()
    finally:
        os.close(directory)


def test_cr_07_rotation_in_the_middle_of_a_line(tmp_path: Path) -> None:
    """Every file holds whole records; together they are what was written."""
    records = Records(b"stdout", "cri")
    written = b"x" * (3 * LIMIT + 5) + b"\nshort\n" + b"y" * LIMIT
    with log_file(tmp_path, size=LIMIT + 100, files=10) as log:
        log.write(records.feed(written, NOW) + records.end(NOW))
    names = sorted(os.listdir(tmp_path), key=lambda name: -int(name.partition(".")[2] or 0))
    files = [(tmp_path / name).read_bytes() for name in names]
    assert len(files) > 3
    assert b"".join(read(file) for file in files) == written


def test_cr_07_sizes_and_numbers_are_kept_to(tmp_path: Path) -> None:
    """However much comes, there are so many files of such a size."""
    records = Records(b"stdout", "cri")
    with log_file(tmp_path, size=10_000, files=3) as log:
        for _ in range(100):
            log.write(records.feed(b"line\n" * 200, NOW))
    assert set(os.listdir(tmp_path)) == {"log", "log.1", "log.2"}
    assert all((tmp_path / name).stat().st_size <= 10_000 for name in os.listdir(tmp_path))


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file of this process can grow beyond ``size``: a write stops in the middle, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 10, 1000, 1234])
def test_cr_07_a_full_disk(tmp_path: Path, room: int) -> None:
    """Whole records are lost and counted; nobody is held up; those after it are whole again."""
    records = Records(b"stdout", "cri")
    with log_file(tmp_path) as log:
        with disk_of(room):
            for number in range(100):
                log.write(records.feed(b"line %d\n" % number, NOW))
        during = (tmp_path / "log").read_bytes()
        assert log.lost > 0
        log.write(records.feed(b"after\n", NOW))
    read(during)
    assert read((tmp_path / "log").read_bytes()) == read(during) + b"after\n"


def test_cr_07_a_clock_that_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records say what the clock said; their order in the file is that of writing."""
    clock = Clock()
    times = iter([2_000_000_000_500_000_000, 1_999_999_999_999_999_999, 2_000_000_000_000_000_001])
    monkeypatch.setattr("time.time_ns", lambda: next(times))
    assert [clock.now() for _ in range(3)] == [
        b"2033-05-18T03:33:20.500000000Z",
        b"2033-05-18T03:33:19.999999999Z",
        b"2033-05-18T03:33:20.000000001Z",
    ]
