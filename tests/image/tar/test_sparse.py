"""Sparse files, as GNU tar has written them over the years: the same content, and the holes are kept."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.errors import LimitExceeded, TarError
from ociworks.image.tar import Limits
from tests.image.archives import END, apply, entry, file, header, layer, read

FORMS = ["oldgnu", "gnu", "0.0", "0.1", "1.0"]


def holey(path: Path, extents: list[tuple[int, bytes]], size: int) -> None:
    with open(path, "xb") as target:
        for offset, content in extents:
            target.seek(offset)
            target.write(content)
        target.truncate(size)


def by_gnu_tar(folder: Path, form: str, *options: str) -> bytes:
    if shutil.which("tar") is None:
        pytest.skip("GNU tar is not installed")
    style = [f"--format={form}"] if "." not in form else ["--format=pax", f"--sparse-version={form}"]
    command = ["tar", *style, "--sparse", "--sort=name", *options, "-cf", "-", "-C", str(folder), "."]
    return subprocess.run(command, capture_output=True, check=True).stdout


MIB = 1 << 20
SHAPES: dict[str, tuple[list[tuple[int, bytes]], int]] = {
    "all-hole": ([], 5 * MIB),
    "hole-at-end": ([(0, b"begin")], 3 * MIB),
    "hole-at-start": ([(2 * MIB, b"end")], 2 * MIB + 3),
    "many": ([(n * 2 * MIB, b"%d" % n * 5000) for n in range(60)], 121 * MIB),
    "n" * 120: ([(MIB, b"a long name")], 4 * MIB),
}


@pytest.mark.interop
@pytest.mark.parametrize("form", FORMS)
def test_gnu_tar(tmp_path: Path, form: str) -> None:
    source, root = tmp_path / "source", tmp_path / "root"
    source.mkdir()
    root.mkdir()
    for name, (extents, size) in SHAPES.items():
        holey(source / name, extents, size)
    (source / "plain").write_bytes(b"plain")
    archive = by_gnu_tar(source, form)
    assert len(archive) < 10 * MIB, "the file system reports no holes"
    apply(root, archive)
    for name in [*SHAPES, "plain"]:
        assert (root / name).read_bytes() == (source / name).read_bytes(), name
        assert (root / name).stat().st_blocks <= (source / name).stat().st_blocks + 8, name
        assert (root / name).stat().st_mtime_ns // 10**9 == (source / name).stat().st_mtime_ns // 10**9


@pytest.mark.interop
@pytest.mark.parametrize("form", FORMS)
def test_content_is_the_whole_file(tmp_path: Path, form: str) -> None:
    holey(tmp_path / "f", [(0, b"one"), (MIB, b"two")], 2 * MIB)
    [(_, _), (found, content)] = read(by_gnu_tar(tmp_path, form))
    assert found.path == b"f"
    assert found.size == len(content) == 2 * MIB
    assert content == (tmp_path / "f").read_bytes()
    assert found.extents


# --- by hand ------------------------------------------------------------------------------------------


def sparse_1(map_text: bytes, stored: bytes, real: int) -> bytes:
    text = map_text + bytes(-len(map_text) % 512)
    records = {
        b"GNU.sparse.major": b"1",
        b"GNU.sparse.minor": b"0",
        b"GNU.sparse.name": b"f",
        b"GNU.sparse.realsize": b"%d" % real,
    }
    return layer(entry(b"GNUSparseFile.1/f", content=text + stored, records=records))


def sparse_01(pairs: bytes, stored: bytes, real: int, count: int | None = None) -> bytes:
    blocks = (pairs.count(b",") + 1) // 2 if count is None else count
    records = {
        b"GNU.sparse.size": b"%d" % real,
        b"GNU.sparse.numblocks": b"%d" % blocks,
        b"GNU.sparse.map": pairs,
    }
    return layer(entry(b"f", content=stored, records=records))


def old(pairs: list[tuple[int, int]], stored: bytes, real: int, magic: bytes = b"ustar  \0") -> bytes:
    """The old GNU form, with its continuation blocks."""

    def fields(some: list[tuple[int, int]], room: int) -> bytes:
        return b"".join(b"%011o\0%011o\0" % pair for pair in some).ljust(room * 24, b"\0")

    block = bytearray(header(b"f", b"S", size=len(stored), magic=magic))
    block[345:] = bytes(167)
    block[386:482] = fields(pairs[:4], 4)
    rest = pairs[4:]
    block[482] = bool(rest)
    block[483:495] = b"%011o\0" % real
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    more = b""
    while rest:
        some, rest = rest[:21], rest[21:]
        more += (fields(some, 21) + bytes([bool(rest)])).ljust(512, b"\0")
    return bytes(block) + more + stored + bytes(-len(stored) % 512) + END


def test_the_forms_by_hand() -> None:
    expected = bytes(10) + b"abc" + bytes(7) + b"de" + bytes(3)
    pairs = [(10, 3), (20, 2), (25, 0)]
    text = b"".join(b"%d\n%d\n" % pair for pair in pairs)
    for archive in (
        sparse_1(b"3\n" + text, b"abcde", 25),
        sparse_01(b"10,3,20,2,25,0", b"abcde", 25),
        old(pairs, b"abcde", 25),
    ):
        [(found, content)] = read(archive)
        assert (found.path, content, found.extents) == (b"f", expected, ((10, 3), (20, 2)))
    pairs = [(2 * n, 1) for n in range(60)]
    [(found, content)] = read(old(pairs, b"x" * 60, 120))
    assert content == b"x\0" * 60


@pytest.mark.parametrize(
    ("pairs", "real"),
    [
        (b"5,3,0,2", 25),  # out of order
        (b"0,3,2,2", 25),  # overlapping
        (b"0,3,24,2", 25),  # out of the file
        (b"0,3", 25),  # less than is stored
        (b"0,3,3,3", 25),  # more
        (b"0,3,3", 25),
        (b"-1,3,3,2", 25),
        (b"0,3,3,x", 25),
        (b"0,9223372036854775807,9223372036854775807,5", 25),
    ],
)
def test_un_18_maps_that_are_none(pairs: bytes, real: int) -> None:
    with pytest.raises(TarError):
        read(sparse_01(pairs, b"abcde", real))
    numbers = pairs.split(b",")
    with pytest.raises(TarError):
        read(sparse_1(b"%d\n" % (len(numbers) // 2) + b"\n".join(numbers) + b"\n", b"abcde", real))
    if b"-" not in pairs and b"x" not in pairs and len(numbers) % 2 == 0 and max(map(len, numbers)) < 5:
        each = iter(map(int, numbers))
        with pytest.raises(TarError):
            read(old(list(zip(each, each, strict=True)), b"abcde", real))


def test_un_18_maps_are_bounded() -> None:
    with pytest.raises(LimitExceeded, match="sparse_extents"):
        read(sparse_1(b"1000000000\n", b"", 10))
    with pytest.raises(LimitExceeded):
        read(sparse_01(b"0,1", b"x", 10**13))
    few = Limits(sparse_extents=30)
    with pytest.raises(LimitExceeded, match="sparse_extents"):
        read(old([(2 * n, 1) for n in range(60)], b"x" * 60, 120), few)
    with pytest.raises(TarError):
        read(sparse_01(b"0,1", b"x", 10, count=10**9))
    endless = old([(n, 1) for n in range(4)], b"xxxx", 10)
    chained = bytearray(endless[:512])
    chained[482] = 1
    chained[148:156] = b" " * 8
    chained[148:156] = b"%06o\0 " % sum(chained)
    more = (b"".join(b"%011o\0%011o\0" % (n, 1) for n in range(21)) + b"\1").ljust(512, b"\0")
    with pytest.raises(LimitExceeded, match="sparse_extents"):
        read(bytes(chained) + more * 10_000)


@pytest.mark.parametrize(
    "records",
    [
        {b"GNU.sparse.major": b"2", b"GNU.sparse.realsize": b"1"},
        {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"1", b"GNU.sparse.realsize": b"1"},
        {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0"},
        {b"GNU.sparse.major": b"1", b"GNU.sparse.map": b"0,0", b"GNU.sparse.realsize": b"1"},
        {b"GNU.sparse.numblocks": b"1"},
        {b"GNU.sparse.offset": b"0", b"GNU.sparse.numblocks": b"1", b"GNU.sparse.size": b"1"},
        {b"GNU.sparse.numbytes": b"0"},
        {b"GNU.sparse.offset": b"0,0"},
        {b"GNU.sparse.future": b"1"},
        {b"GNU.sparse.name": b"a\0b"},
        {b"GNU.sparse.name": b"../x", b"GNU.sparse.map": b"0,0", b"GNU.sparse.numblocks": b"1"},
    ],
)
def test_un_18_records_that_make_no_sense(records: dict[bytes, bytes]) -> None:
    with pytest.raises(TarError):
        read(layer(entry(b"f", records=records)))


def test_un_18_sparse_in_the_wrong_place() -> None:
    announced = {b"GNU.sparse.numblocks": b"0", b"GNU.sparse.map": b"", b"GNU.sparse.size": b"5"}
    [(_, content)] = read(layer(entry(b"f", records=announced)))
    assert content == bytes(5)
    for kind in (b"1", b"2", b"5", b"6"):
        with pytest.raises(TarError):
            read(layer(entry(b"f", kind, link=b"x", records=announced)))
    with pytest.raises(TarError):
        read(old([(0, 5)], b"abcde", 5, magic=b"ustar\x0000"))
    archive = layer(entry(b"f", records=announced))
    assert archive.count(b"ustar") == 2
    with pytest.raises(TarError):
        read(archive[:1024] + old([(0, 5)], b"abcde", 5))
    with pytest.raises(TarError, match="ends early|decimal"):
        read(sparse_1(b"1\n0\n" + b"5" * 600, b"", 10))


def test_un_14_holes_count(tmp_path: Path) -> None:
    limits = Limits(unpacked_bytes_per_layer=10 * MIB)
    hole = old([(0, 1)], b"x", 9 * MIB)[: -len(END)]
    with pytest.raises(LimitExceeded, match="unpacked_bytes_per_layer"):
        apply(tmp_path, layer(hole, hole), limits=limits)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.binary(min_size=1, max_size=40)), max_size=30),
    st.integers(0, 100),
)
def test_any_map(gaps: list[tuple[int, bytes]], tail: int) -> None:
    """Whatever the map, the three forms give the file that it describes, and the entry behind it."""
    whole, pairs = b"", []
    for gap, content in gaps:
        whole += bytes(gap)
        pairs.append((len(whole), len(content)))
        whole += content
    whole += bytes(tail)
    stored = b"".join(content for _, content in gaps)
    text = b"%d\n" % len(pairs) + b"".join(b"%d\n%d\n" % pair for pair in pairs)
    flat = b",".join(b"%d,%d" % pair for pair in pairs)
    for archive in (
        sparse_1(text, stored, len(whole)),
        sparse_01(flat, stored, len(whole), len(pairs)),
        old(pairs, stored, len(whole)),
    ):
        [(_, content), (last, _)] = read(archive[: -len(END)] + layer(file(b"last")))
        assert content == whole
        assert last.path == b"last"


def test_the_holes_of_0_0(tmp_path: Path) -> None:
    """0.0 repeats its keys, which a mapping cannot: here by the bytes."""
    body = b""
    for key, value in (
        ("size", 9),
        ("numblocks", 2),
        ("offset", 1),
        ("numbytes", 2),
        ("offset", 6),
        ("numbytes", 1),
    ):
        body += b"%d GNU.sparse.%s=%d\n" % (len(key) + 17, key.encode(), value)
    archive = layer(
        header(b"pax", b"x", size=len(body)) + body.ljust(512, b"\0") + entry(b"f", content=b"abc")
    )
    [(_, content)] = read(archive)
    assert content == b"\0ab\0\0\0c\0\0"
    apply(tmp_path, archive)
    assert (tmp_path / "f").read_bytes() == content
    assert os.listdir(tmp_path) == ["f"]
