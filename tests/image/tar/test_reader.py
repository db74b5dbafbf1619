"""The tar reader: what other writers write, entry by entry, and the same whatever the pieces it is read in."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ociworks.errors import LimitExceeded, TarError
from ociworks.image.tar import TarReader
from tests.image.archives import END, directory, entry, file, header, layer, pax, read, symlink


def made_by_tarfile(format: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name, kind, link in (
            ("usr/bin", tarfile.DIRTYPE, ""),
            ("usr/bin/" + "n" * 120, tarfile.REGTYPE, ""),
            ("plain", tarfile.REGTYPE, ""),
            ("sym", tarfile.SYMTYPE, "t" * 130),
            ("hard", tarfile.LNKTYPE, "plain"),
            ("pipe", tarfile.FIFOTYPE, ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode, info.mtime, info.uid = kind, link, 0o4755, 12, 3_000_000
            content = b"content of " + name.encode() if kind == tarfile.REGTYPE else b""
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_reads_what_tarfile_writes(format: int) -> None:
    found = {item.path: (item, content) for item, content in read(made_by_tarfile(format))}
    assert list(found) == [b"usr/bin", b"usr/bin/" + b"n" * 120, b"plain", b"sym", b"hard", b"pipe"]
    assert [item.type for item, _ in found.values()] == [
        "directory",
        "file",
        "file",
        "symlink",
        "hardlink",
        "fifo",
    ]
    plain, content = found[b"plain"]
    assert content == b"content of plain"
    assert (plain.mode, plain.uid, plain.mtime_ns, plain.size) == (
        0o4755,
        3_000_000,
        12_000_000_000,
        len(content),
    )
    assert found[b"sym"][0].target == b"t" * 130
    assert found[b"hard"][0].target == b"plain"


class Trickle(io.RawIOBase):
    """Gives a few bytes at a time, as a network would."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data, self._step = io.BytesIO(data), step

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, self._step))


@given(step=st.integers(1, 2000), sizes=st.lists(st.integers(0, 1500), max_size=6), skip=st.booleans())
def test_pieces_do_not_matter(step: int, sizes: list[int], skip: bool) -> None:
    archive = layer(*(file(b"f%d" % number, b"x" * size) for number, size in enumerate(sizes)))
    reader = TarReader(Trickle(archive, step))
    found = [(item.path, 0 if skip else sum(map(len, reader.content()))) for item in reader]
    assert found == [(b"f%d" % number, 0 if skip else size) for number, size in enumerate(sizes)]


def test_content_read_in_part_is_passed_by() -> None:
    reader = TarReader(Trickle(layer(file(b"a", b"x" * 3000), file(b"b", b"y")), 700))
    names = []
    for item in reader:
        names.append(item.path)
        next(reader.content())
    assert names == [b"a", b"b"]


def test_pax_values_win_over_the_header() -> None:
    records = {
        b"path": b"long/name",
        b"uid": b"4000000000",
        b"mtime": b"1.5",
        b"SCHILY.xattr.user.k": b"v\0\n=",
    }
    [(item, _)] = read(layer(entry(b"short", records=records)))
    assert (item.path, item.uid, item.mtime_ns) == (b"long/name", 4_000_000_000, 1_500_000_000)
    assert dict(item.xattrs) == {b"user.k": b"v\0\n="}


def test_harmless_global_header_is_passed_by() -> None:
    assert [item.path for item, _ in read(layer(pax({b"comment": b"a commit"}, b"g"), file(b"a")))] == [b"a"]


def test_prefix_belongs_to_posix_archives_only() -> None:
    archive = layer(
        header(b"name", prefix=b"dir/sub"),
        header(b"gnu", prefix=b"junk", magic=b"ustar  \0"),
        header(b"v7dir/", b"\0", prefix=b"junk", magic=bytes(8)),
    )
    assert [(item.path, item.type) for item, _ in read(archive)] == [
        (b"dir/sub/name", "file"),
        (b"gnu", "file"),
        (b"v7dir", "directory"),
    ]


def test_mutations_end_in_typed_errors() -> None:
    """Fuzzing: whatever is done to an archive, reading it ends, with entries or one of our errors."""
    base = layer(
        directory(b"d"),
        file(b"d/f", b"content" * 100),
        symlink(b"l", b"d/f"),
        entry(b"x" * 150, records={b"SCHILY.xattr.user.a": b"1", b"mtime": b"-1.25"}),
    )

    @settings(max_examples=400)
    @given(
        st.lists(st.tuples(st.integers(0, len(base) - 1), st.integers(0, 255)), max_size=8),
        st.integers(0, len(base)),
    )
    def mutate(changes: list[tuple[int, int]], length: int) -> None:
        data = bytearray(base)
        for position, value in changes:
            data[position] = value
        for cut in (data, data[:length]):
            try:
                read(bytes(cut))
            except (TarError, LimitExceeded):
                continue

    mutate()


def test_valid_checksums_do_not_help_mutations() -> None:
    """The same with headers whose checksum is right, so that the fields behind it are reached."""

    @settings(max_examples=400)
    @given(
        st.binary(max_size=99),
        st.binary(min_size=1, max_size=1),
        st.binary(max_size=11),
        st.binary(max_size=11),
        st.binary(max_size=600),
    )
    def build(name: bytes, kind: bytes, size: bytes, mtime: bytes, payload: bytes) -> None:
        for archive in (
            header(name, kind, size=size, mtime=mtime, link=b"t") + payload + END,
            layer(pax(payload), file(b"a")),
        ):
            try:
                read(archive)
            except (TarError, LimitExceeded):
                continue

    build()
