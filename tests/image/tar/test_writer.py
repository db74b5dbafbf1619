"""The writer: what it writes, everybody reads, and its bytes depend on nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ociworks.errors import TarError
from ociworks.image.tar import TarEntry, TarReader, TarWriter, pieces_of
from ociworks.image.tar.entry import NO_XATTRS, EntryType
from tests.image.archives import read

COMPONENTS = st.binary(min_size=1, max_size=120).filter(
    lambda part: part not in (b".", b"..") and not set(part) & {0, 0x2F}
)
NAMES = st.lists(COMPONENTS, min_size=1, max_size=5).map(tuple)
XATTR_NAMES = st.binary(min_size=1, max_size=20).filter(lambda name: not set(name) & {0, 0x3D})


def make(name: bytes = b"file", kind: EntryType = "file", **changes: Any) -> TarEntry:
    entry = TarEntry(
        tuple(part for part in name.split(b"/") if part), kind, 0o644, 0, 0, 0, 0, b"", (0, 0), NO_XATTRS
    )
    return entry._replace(**changes)


def write(*entries: tuple[TarEntry, bytes]) -> bytes:
    buffer = io.BytesIO()
    with TarWriter(buffer) as writer:
        for entry, content in entries:
            writer.add(entry, (content,))
    return buffer.getvalue()


@st.composite
def entries(draw: st.DrawFn) -> tuple[TarEntry, bytes]:
    kind: EntryType = draw(
        st.sampled_from(["file", "hardlink", "symlink", "char", "block", "directory", "fifo"])
    )
    content = draw(st.binary(max_size=2000)) if kind == "file" else b""
    target = b""
    if kind == "symlink":
        target = draw(st.binary(min_size=1, max_size=300).filter(lambda text: 0 not in text))
    elif kind == "hardlink":
        target = b"/".join(draw(NAMES))
    device = (draw(st.integers(0, 4095)), draw(st.integers(0, 2**20 - 1)))
    entry = TarEntry(
        draw(NAMES),
        kind,
        draw(st.integers(0, 0o7777)),
        draw(st.sampled_from([0, 1000, 8**7 - 1, 8**7, 2**32 - 2])),
        draw(st.sampled_from([0, 1000, 8**7 - 1, 8**7, 2**32 - 2])),
        len(content),
        draw(st.one_of(st.integers(-(2**63) + 1, 2**63 - 1), st.integers(0, 2**33).map(lambda s: s * 10**9))),
        target,
        device if kind in ("char", "block") else (0, 0),
        draw(st.dictionaries(XATTR_NAMES, st.binary(max_size=100), max_size=3)),
    )
    return entry, content


@given(st.lists(entries(), max_size=6))
def test_our_reader_gives_back_what_was_written(given_: list[tuple[TarEntry, bytes]]) -> None:
    archive = write(*given_)
    assert read(archive) == given_
    assert len(archive) % 512 == 0
    assert archive.endswith(bytes(1024))


@given(st.lists(entries(), max_size=6))
def test_tarfile_reads_the_same(given_: list[tuple[TarEntry, bytes]]) -> None:
    with tarfile.open(
        fileobj=io.BytesIO(write(*given_)), encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for info, (entry, content) in zip(archive, given_, strict=True):
            assert os.fsencode(info.name) == entry.path
            assert os.fsencode(info.linkname) == entry.target
            assert (info.mode, info.uid, info.gid, info.size) == entry[2:6]
            assert info.mtime == pytest.approx(entry.mtime_ns / 1e9)
            if info.isreg():
                file = archive.extractfile(info)
                assert file is not None
                assert file.read() == content


@settings(max_examples=15)
@given(
    st.dictionaries(
        NAMES.filter(lambda name: len(b"/".join(name)) < 400), st.binary(max_size=600), max_size=4
    )
)
def test_gnu_tar_reads_the_same_names(files: dict[tuple[bytes, ...], bytes]) -> None:
    """Raw bytes too, in the locale that knows the least. Of hdrcharset it says that it does not need it."""
    if shutil.which("tar") is None:
        pytest.skip("no GNU tar")
    archive = write(*((make(b"", parts=name, size=len(content)), content) for name, content in files.items()))
    done = subprocess.run(
        ["tar", "--list", "--quoting-style=escape"],
        input=archive,
        capture_output=True,
        check=True,
        env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
    )
    assert all(b"hdrcharset" in line for line in done.stderr.splitlines())
    assert [unescape(line) for line in done.stdout.splitlines()] == [b"/".join(name) for name in files]


def unescape(line: bytes) -> bytes:
    return line.decode("ascii").encode().decode("unicode_escape").encode("latin-1")


def test_gnu_tar_unpacks_it(tmp_path: Path) -> None:
    archive = write(
        (make(b"", "directory", mode=0o755, mtime_ns=5 * 10**9), b""),
        (make(b"d\xff\xfe", "directory", mode=0o750, mtime_ns=7 * 10**9), b""),
        (make(b"d\xff\xfe/" + b"n" * 200, size=5, mode=0o4711, mtime_ns=1_500_000_000), b"hello"),
        (make(b"d\xff\xfe/link", "symlink", target=b"\xfe" * 120), b""),
        (make(b"hard", "hardlink", target=b"d\xff\xfe/" + b"n" * 200), b""),
    )
    subprocess.run(["tar", "-xp", "-C", tmp_path], input=archive, check=True)
    root = os.fsencode(tmp_path)
    inside = root + b"/d\xff\xfe/" + b"n" * 200
    assert os.stat(inside).st_mode & 0o7777 == 0o4711
    assert os.stat(inside).st_mtime_ns == 1_500_000_000
    assert os.stat(inside).st_nlink == 2
    assert os.readlink(root + b"/d\xff\xfe/link") == b"\xfe" * 120
    assert os.stat(root).st_mtime_ns == 5 * 10**9


def test_the_bytes_are_pinned() -> None:
    """A change here changes the digest of every layer that anybody makes: it needs a very good reason."""
    archive = write(
        (make(b"etc", "directory", mode=0o755), b""),
        (make(b"etc/os-release", size=3, mtime_ns=1_700_000_000 * 10**9), b"ID\n"),
        (make(b"a/" * 80 + b"deep", uid=3_000_000, mtime_ns=-1), b""),
        (make("größe".encode(), "symlink", target=b"/" + b"t" * 150, mode=0o777), b""),
        (make(b"\xff", xattrs={b"user.b": b"\0\n", b"user.a": b"1"}), b""),
    )
    assert hashlib.sha256(archive).hexdigest() == (
        "3eecdd7bef6999463e0d2684bf40a16e2aa1a83a1d71a365c6342ac54bfa7425"
    )


def test_ustar_is_enough_for_ordinary_entries() -> None:
    long = b"p" * 150 + b"/" + b"n" * 99
    archive = write((make(b"plain", mtime_ns=1), b""), (make(long), b""))
    assert archive.count(b"ustar\x0000") == 3  # the nanosecond needs a PAX header, the split name none
    assert len(write((make(long), b""))) == 512 + 1024


@pytest.mark.parametrize(
    "bad",
    [
        make(parts=(b"a", b"..")),
        make(parts=(b"a/b",)),
        make(parts=(b"",)),
        make(parts=(b"a\0",)),
        make(b""),
        make(mode=0o10000),
        make(uid=2**32 - 1),
        make(gid=-1),
        make(mtime_ns=2**63),
        make(kind="directory", size=1),
        make(kind="symlink"),
        make(kind="hardlink", target=b"a\0b"),
        make(target=b"x"),
        make(kind="char", device=(-1, 0)),
        make(xattrs={b"user.a=b": b""}),
        make(xattrs={b"": b""}),
    ],
)
def test_what_cannot_be_written_faithfully_is_refused(bad: TarEntry) -> None:
    buffer = io.BytesIO()
    writer = TarWriter(buffer)
    with pytest.raises(TarError):
        writer.add(bad)
    assert buffer.getvalue() == b""
    writer.add(make())
    writer.close()
    assert len(read(buffer.getvalue())) == 1


@pytest.mark.parametrize("content", [b"", b"12345", b"1234567"])
def test_content_of_another_length_ends_the_archive(content: bytes) -> None:
    """A file that changed while it was read gives an error, never an archive that says something else."""
    buffer = io.BytesIO()
    writer = TarWriter(buffer)
    with pytest.raises(TarError, match="content"):
        writer.add(make(size=6), (content,))
    with pytest.raises(TarError, match="ended"):
        writer.add(make())
    with pytest.raises(TarError, match="ended"):
        writer.close()


def test_an_exception_leaves_no_end_marker() -> None:
    buffer = io.BytesIO()
    with contextlib.suppress(KeyError), TarWriter(buffer) as writer:
        writer.add(make())
        raise KeyError
    assert len(buffer.getvalue()) == 512


def test_content_comes_from_a_file_or_a_reader() -> None:
    archive = write((make(b"a", size=3), b"abc"))
    copy = io.BytesIO()
    reader = TarReader(io.BytesIO(archive))
    with TarWriter(copy) as writer:
        for entry in reader:
            writer.add(entry, reader.content())
    assert copy.getvalue() == archive
    again = io.BytesIO()
    with TarWriter(again) as writer:
        writer.add(make(b"a", size=3), pieces_of(io.BytesIO(b"abc")))
    assert again.getvalue() == archive
    assert writer.entries == 1


def test_sizes_beyond_octal_go_into_a_record() -> None:
    """Only the header: eight gibibytes of content are not needed to see it."""
    from ociworks.image.tar._headers import header_blocks

    blocks = header_blocks(make(size=8**11))
    with pytest.raises(TarError, match="ends early"):
        list(TarReader(io.BytesIO(blocks)))
    info = tarfile.TarInfo.frombuf(blocks[1024:], "utf-8", "strict")
    assert info.size == 0
    assert b"size=8589934592\n" in blocks
