"""Layers that are made here: what is in them, that their bytes are the same everywhere, and that they stay."""

from __future__ import annotations

import contextlib
import gc
import gzip
import io
import os
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attr
import attrs
import pytest

import ociworks
from ociworks.errors import (
    CompressionError,
    DigestMismatch,
    LayerError,
    LimitExceeded,
    SpecError,
    TarError,
)
from ociworks.image import File, Layer, LayerBuilder, LayerOptions, Limits
from ociworks.image._pack.spool import Spool, SpoolReader
from ociworks.image.tar import Compression, TarEntry
from ociworks.spec import Digest
from ociworks.spec.image import mediatypes
from tests.image import archives

COMPRESSIONS: tuple[Compression, ...] = ("none", "gzip", "zstd")


def tree(root: Path) -> Path:
    (root / "sub").mkdir(parents=True)
    (root / "b").write_bytes(b"bee")
    (root / "sub" / "a").write_bytes(b"x" * 100_000)
    (root / "run").write_bytes(b"#!/bin/sh\n")
    os.link(root / "run", root / "sub" / "run-too")
    (root / "link").symlink_to("../outside")
    for path, mode in (("", 0o755), ("sub", 0o2750), ("b", 0o640), ("run", 0o4755), ("sub/a", 0o444)):
        (root / path).chmod(mode)
    return root


def contents(layer: Layer) -> dict[str, bytes]:
    with layer.uncompressed() as stream:
        found = archives.read(stream.read())
    return {entry.path.decode(): content for entry, content in found if entry.type == "file"}


def proved(layer: Layer) -> None:
    """The numbers of a layer are those of its bytes."""
    with layer.open() as stream:
        blob = stream.read()
    assert (Digest.of(blob), len(blob)) == (layer.digest, layer.size)
    with layer.uncompressed() as stream:
        assert Digest.of(stream.read()) == layer.diff_id


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_directory_becomes_a_layer(tmp_path: Path, compression: Compression) -> None:
    layer = Layer.from_directory(tree(tmp_path / "site"), at="/srv/www", compression=compression)
    proved(layer)
    assert mediatypes.compression_of(layer.media_type) == compression
    shown = [
        (entry.path.decode(), entry.type, oct(entry.mode), entry.target.decode()) for entry in layer.entries()
    ]
    assert shown == [
        ("srv", "directory", "0o755", ""),
        ("srv/www", "directory", "0o755", ""),
        ("srv/www/b", "file", "0o640", ""),
        ("srv/www/link", "symlink", "0o777", "../outside"),
        ("srv/www/run", "file", "0o4755", ""),
        ("srv/www/sub", "directory", "0o2750", ""),
        ("srv/www/sub/a", "file", "0o444", ""),
        ("srv/www/sub/run-too", "hardlink", "0o4755", "srv/www/run"),
    ]
    assert contents(layer)["srv/www/sub/a"] == b"x" * 100_000
    assert {(entry.uid, entry.gid, entry.mtime_ns) for entry in layer.entries()} == {(0, 0, 0)}


def test_equal_trees_give_equal_layers(tmp_path: Path) -> None:
    """Whoever made them, whenever, in whatever order."""
    first = Layer.from_directory(tree(tmp_path / "one"))
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "zzz").write_bytes(b"")
    (tmp_path / "two" / "zzz").unlink()
    second = tree(tmp_path / "two" / "inner")
    os.utime(second / "b", ns=(1, 1))
    assert Layer.from_directory(second) == first
    assert first.diff_id == Digest(PINNED_DIFF_ID)


PINNED_DIFF_ID = "sha256:9e6442d873e206750b4d07b26a9f93885abbd4c4695ca7bdd486b534ecff216a"


def test_owner_and_time_can_be_kept(tmp_path: Path) -> None:
    root = tree(tmp_path / "site")
    os.utime(root / "b", ns=(1_500_000_001, 1_500_000_001))
    found = {entry.path: entry for entry in Layer.from_directory(root, owner=None, mtime=None).entries()}
    assert found[b"b"].mtime_ns == 1_500_000_001
    assert (found[b"b"].uid, found[b"b"].gid) == (os.getuid(), (root / "b").stat().st_gid)
    chosen = next(iter(Layer.from_directory(root, owner=(7, 8), mtime=9).entries()))
    assert (chosen.uid, chosen.gid, chosen.mtime_ns) == (7, 8, 9_000_000_000)


def test_the_root_itself_is_not_described(tmp_path: Path) -> None:
    """A layer at / leaves mode and owner of the base image's root alone."""
    root = tree(tmp_path / "site")
    assert next(iter(Layer.from_directory(root).entries())).path == b"b"


def test_directories_above_are_described_unless_they_should_not(tmp_path: Path) -> None:
    """With the modes that they have in every image: a layer must not close /tmp, or open /root."""
    root = tree(tmp_path / "site")
    found = [(entry.path, entry.mode) for entry in Layer.from_directory(root, at="root/app/").entries()]
    assert found[:2] == [(b"root", 0o700), (b"root/app", 0o755)]
    files: dict[str, bytes | File] = {
        "/var/tmp/a": b"",
        "/tmp/b": b"",
        "/etc/c/d": b"",
        "/etc/": File(mode=0o711),
    }
    assert [(entry.path, entry.mode) for entry in Layer.from_files(files).entries()] == [
        (b"etc", 0o711),
        (b"etc/c", 0o755),
        (b"etc/c/d", 0o644),
        (b"tmp", 0o1777),
        (b"tmp/b", 0o644),
        (b"var", 0o755),
        (b"var/tmp", 0o1777),
        (b"var/tmp/a", 0o644),
    ]
    alone = LayerOptions(parents=False)
    assert next(iter(Layer.from_directory(root, at="opt/app", options=alone).entries())).path == b"opt/app"
    assert [entry.path for entry in Layer.from_files({"/a/b": b""}, options=alone).entries()] == [b"a/b"]


def test_a_layer_keeps_its_bytes(tmp_path: Path) -> None:
    """Also when what it was made of is gone, and when it is large enough to be on disk."""
    root = tmp_path / "site"
    root.mkdir()
    (root / "large").write_bytes(os.urandom(3 << 20))
    layer = Layer.from_directory(root)
    (root / "large").write_bytes(b"other")
    proved(layer)
    with layer.open() as one, layer.open() as other:
        assert one.read(1000) == other.read(1000)
        assert one.read() == other.read()


def test_large_layers_leave_no_files_and_no_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "spool"))
    (tmp_path / "spool").mkdir()
    gc.collect()
    before, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    layer = Layer.from_files({"large": os.urandom(3 << 20)})
    assert len(os.listdir("/proc/self/fd")) == before + 1
    assert os.listdir(tmp_path / "spool") == []
    stream = layer.open()
    del layer
    gc.collect()
    with stream:
        assert len(stream.read()) > 3 << 20
    del stream
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
    assert threading.active_count() == threads


def test_a_changed_spool_is_noticed() -> None:
    layer = Layer.from_files({"a": b"1"})
    layer._spool._memory[20] ^= 1  # type: ignore[attr-defined]
    with pytest.raises(DigestMismatch), layer.open() as stream:
        stream.read()


@pytest.mark.parametrize("in_memory", [0, 4, 5, 100])
def test_spools_are_the_same_in_memory_and_on_disk(in_memory: int) -> None:
    spool = Spool(in_memory)
    spool.write(b"abc")
    spool.write(memoryview(b"de"))
    reader = SpoolReader(spool)
    assert [reader.read(2), reader.read(0), reader.read(100), reader.read(1)] == [b"ab", b"", b"cde", b""]
    reader.close()


def test_un_21_names_are_bytes_end_to_end(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path / "site")
    os.mkdir(root)
    names = [b"\xff\xfe", b"line\nbreak", b"esc\x1b[31m", "größe".encode(), b"n" * 255, b" ", b"back\\slash"]
    for name in names:
        with open(root + b"/" + name, "xb") as file:
            file.write(name)
    layer = Layer.from_directory(os.fsdecode(root))
    assert [entry.path for entry in layer.entries()] == sorted(names)
    target = tmp_path / "root"
    target.mkdir()
    with layer.uncompressed() as stream:
        archives.apply(target, stream.read())
    assert sorted(os.listdir(os.fsencode(target))) == sorted(names)


def test_un_07_special_files_are_kept_or_reported(tmp_path: Path) -> None:
    root = tmp_path / "site"
    root.mkdir()
    os.mkfifo(root / "fifo", 0o600)
    with socket.socket(socket.AF_UNIX) as server:
        cwd = os.getcwd()
        os.chdir(root)
        try:
            server.bind("socket")
        finally:
            os.chdir(cwd)
        skipped: list[tuple[bytes, str]] = []
        options = LayerOptions(skipped=lambda path, why: skipped.append((path, why)))
        layer = Layer.from_directory(root, options=options)
    assert [(entry.path, entry.type) for entry in layer.entries()] == [(b"fifo", "fifo")]
    assert skipped == [(b"socket", "a socket is left out")]


@pytest.mark.root
def test_un_07_devices_keep_their_numbers(tmp_path: Path) -> None:
    root = tmp_path / "site"
    root.mkdir()
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (entry,) = Layer.from_directory(root).entries()
    assert (entry.type, entry.device) == ("char", (1, 3))
    os.mknod(root / "gone", stat.S_IFCHR, os.makedev(0, 0))
    with pytest.raises(LayerError, match="from_overlay_upper"):
        Layer.from_directory(root)


def test_un_11_a_file_named_like_a_whiteout_is_refused(tmp_path: Path) -> None:
    root = tree(tmp_path / "site")
    (root / "sub" / ".wh.passwd").write_bytes(b"")
    with pytest.raises(LayerError, match=r"sub/\.wh\.passwd.* whiteout"):
        Layer.from_directory(root)


def test_un_14_trees_that_nobody_would_unpack_are_not_packed(tmp_path: Path) -> None:
    root = tree(tmp_path / "site")
    with pytest.raises(LimitExceeded, match="entries_per_layer"):
        Layer.from_directory(root, options=LayerOptions(limits=Limits(entries_per_layer=5)))
    with pytest.raises(LimitExceeded, match="depth"):
        Layer.from_directory(root, options=LayerOptions(limits=Limits(depth=1)))


def test_extended_attributes_on_request(tmp_path: Path) -> None:
    root = tree(tmp_path / "site")
    try:
        os.setxattr(root / "b", "user.note", b"\0\xff")
    except OSError:
        pytest.skip("no user attributes on this file system")
    plain = {entry.path: entry for entry in Layer.from_directory(root).entries()}
    kept = {
        entry.path: entry for entry in Layer.from_directory(root, options=LayerOptions(xattrs=True)).entries()
    }
    assert plain[b"b"].xattrs == {}
    assert kept[b"b"].xattrs == {b"user.note": b"\0\xff"}


@pytest.mark.parametrize("size", [b"", b"shorter", b"a longer content than before"])
def test_a_file_that_changes_meanwhile_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: bytes
) -> None:
    root = tmp_path / "site"
    root.mkdir()
    (root / "log").write_bytes(b"what it was")
    from ociworks.image._pack import tree as module

    real = module.open_found

    def changed(found: module.Found) -> int:
        fd = real(found)
        (root / "log").write_bytes(size)
        return fd

    monkeypatch.setattr(module, "open_found", changed)
    with pytest.raises((LayerError, TarError), match="changed while it was read"):
        Layer.from_directory(root)


def test_un_02_a_name_that_becomes_a_link_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at a name and the opening of it anybody may change what it is."""
    with archives.Outside.watched(tmp_path) as outside:
        (outside.root / "dir").mkdir()
        (outside.root / "file").write_bytes(b"mine")
        real = os.stat

        def swap(name: bytes, **rest: Any) -> os.stat_result:
            info = real(name, **rest)
            if name in (b"file", b"dir"):
                path = outside.root / os.fsdecode(name)
                path.rename(tmp_path / "root" / ("was-" + path.name))
                path.symlink_to(outside.canary / "file" if name == b"file" else outside.canary)
            return info

        monkeypatch.setattr("ociworks.image._pack.tree.os.stat", swap)
        with pytest.raises(LayerError, match="changed while it was read"):
            Layer.from_directory(outside.root)
        (outside.root / "dir").unlink()
        with pytest.raises(LayerError, match="changed while it was read"):
            Layer.from_directory(outside.root)


def test_files_become_a_layer() -> None:
    layer = Layer.from_files(
        {
            "/etc/motd": b"hello",
            "tmp/": File(mode=0o1777),
            "bin/sh": File(link="busybox"),
            "bin/busybox": File(b"elf", 0o755, uid=1, gid=2),
        },
        mtime=3,
    )
    proved(layer)
    assert [(entry.path, entry.type, entry.mode) for entry in layer.entries()] == [
        (b"bin", "directory", 0o755),
        (b"bin/busybox", "file", 0o755),
        (b"bin/sh", "symlink", 0o777),
        (b"etc", "directory", 0o755),
        (b"etc/motd", "file", 0o644),
        (b"tmp", "directory", 0o1777),
    ]
    assert contents(layer) == {"bin/busybox": b"elf", "etc/motd": b"hello"}


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({"a": b"", "/a": b""}, SpecError),
        ({"a/": b"content"}, SpecError),
        ({"a": File(b"content", link="b")}, SpecError),
        ({"../a": b""}, TarError),
        ({"/": b""}, None),
        ({"": b""}, TarError),
    ],
)
def test_files_that_cannot_be(files: dict[str, bytes | File], error: type[Exception] | None) -> None:
    if error is None:
        assert [entry.path for entry in Layer.from_files(files).entries()] == [b"."]
        return
    with pytest.raises(error):
        Layer.from_files(files)


@pytest.mark.parametrize("have", COMPRESSIONS)
@pytest.mark.parametrize("wanted", [None, *COMPRESSIONS])
def test_archives_become_layers(tmp_path: Path, have: Compression, wanted: Compression | None) -> None:
    """Their bytes are kept unless others are asked for; the diff ID is the archive's in any case."""
    archive = archives.layer(archives.file(b"a", b"1" * 5000), archives.directory(b"d"))
    blob = {"none": archive, "gzip": archives.gzipped(archive), "zstd": archives.zstd(archive)}[have]
    path = tmp_path / "layer.tar"
    path.write_bytes(blob)
    for source in (path, str(path), io.BytesIO(blob)):
        layer = Layer.from_tar(source, compression=wanted)
        proved(layer)
        assert layer.diff_id == Digest.of(archive)
        assert mediatypes.compression_of(layer.media_type) == (wanted or have)
        if wanted in (None, have):
            with layer.open() as stream:
                assert stream.read() == blob


@pytest.mark.parametrize(
    ("blob", "error"),
    [
        (b"", TarError),
        (b"not a tar archive".ljust(1024, b"\0"), TarError),
        (archives.file(b"a", b"1"), TarError),
        (archives.gzipped(archives.layer(archives.file(b"a")))[:-1], CompressionError),
        (b"\xfd7zXZ\0" + bytes(100), CompressionError),
        (archives.layer(archives.file(b"../a")), TarError),
    ],
)
def test_un_20_archives_that_could_not_be_unpacked_are_refused(blob: bytes, error: type[Exception]) -> None:
    compressions: tuple[Compression | None, ...] = (None, "zstd")
    threads = threading.active_count()
    for compression in compressions:
        with pytest.raises(error):
            Layer.from_tar(io.BytesIO(blob), compression=compression)
    assert threading.active_count() == threads


def test_un_14_archives_are_read_within_bounds() -> None:
    bomb = gzip.compress(archives.layer(archives.file(b"zeros", bytes(1 << 20))))
    with pytest.raises(LimitExceeded):
        Layer.from_tar(
            io.BytesIO(bomb), options=LayerOptions(limits=Limits(unpacked_bytes_per_layer=1 << 19))
        )
    many = archives.layer(*(archives.file(b"%d" % number) for number in range(20)))
    with pytest.raises(LimitExceeded, match="entries_per_layer"):
        Layer.from_tar(io.BytesIO(many), options=LayerOptions(limits=Limits(entries_per_layer=10)))


def test_entries_are_bounded_and_proved() -> None:
    layer = Layer.from_files({str(number): bytes(1000) for number in range(20)})
    assert len(list(layer.entries())) == 20
    with pytest.raises(LimitExceeded, match="entries_per_layer"):
        list(layer.entries(Limits(entries_per_layer=10)))
    with pytest.raises(LimitExceeded, match="unpacked_bytes"):
        list(layer.entries(Limits(unpacked_bytes_per_layer=10_000)))
    lying = type(layer)(layer.descriptor, Digest.of(b""), layer._spool)  # type: ignore[call-arg,attr-defined]
    entries = lying.entries()
    assert next(entries).path == b"0"
    with pytest.raises(DigestMismatch, match="uncompressed layer"):
        list(entries)


def test_entries_can_be_left_early() -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    layer = Layer.from_files({str(number): os.urandom(300_000) for number in range(9)})
    assert next(iter(layer.entries())).path == b"0"
    del layer
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_builder_that_fails_leaves_nothing() -> None:
    gc.collect()
    before, threads = len(os.listdir("/proc/self/fd")), threading.active_count()

    def build() -> None:
        with LayerBuilder() as builder:
            entry = TarEntry((b"a",), "file", 0o644, 0, 0, 4 << 20, 0, b"", (0, 0), {})
            builder.add(entry, (os.urandom(1 << 20) for _ in range(4)))
            builder.add(entry, ())

    with pytest.raises(TarError, match="missing"):
        build()
    gc.collect()
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == before


def _python(version: str) -> str:
    """An interpreter of this version: on the path, or one that pyenv keeps; the test is skipped without."""
    kept = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    for candidate in (f"python{version}", *map(str, sorted(kept.glob(f"{version}.*/bin/python")))):
        with contextlib.suppress(FileNotFoundError):
            done = subprocess.run([candidate, "-c", "import zlib"], capture_output=True, check=False)
            if done.returncode == 0:
                return candidate
    pytest.skip(f"no Python {version} here")


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_every_python_makes_the_same_bytes(tmp_path: Path, version: str) -> None:
    """The interpreters that are here; zlib is theirs. Compressed bytes are promised where is_canonical holds."""
    python = _python(version)
    code = (
        "from ociworks.image import Layer\n"
        "from ociworks.image.tar import is_canonical\n"
        f"layer = Layer.from_directory({str(tree(tmp_path / 'site'))!r})\n"
        "print(layer.diff_id, layer.digest if is_canonical('gzip') else '')"
    )
    path = os.pathsep.join(str(Path(module.__file__ or "").parents[1]) for module in (ociworks, attrs, attr))
    done = subprocess.run(
        [python, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    layer = Layer.from_directory(tmp_path / "site")
    assert done.stdout.split() in ([str(layer.diff_id), str(layer.digest)], [str(layer.diff_id)])


def test_pieces_may_be_views_of_one_buffer() -> None:
    """As ``readinto`` fills it: what was added stays as it was then."""
    buffer = bytearray(b"first")

    def pieces() -> Iterator[memoryview]:
        yield memoryview(buffer)
        buffer[:] = b"other"
        yield memoryview(buffer)

    entry = TarEntry((b"a",), "file", 0o644, 0, 0, 10, 0, b"", (0, 0), {})
    with LayerBuilder(compression="none") as builder:
        builder.add(entry, pieces())
        layer = builder.finish()
    assert contents(layer) == {"a": b"firstother"}
