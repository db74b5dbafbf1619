"""The merged view: what it shows is what unpacking makes, and it says so without unpacking."""

from __future__ import annotations

import gc
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ociworks import testing
from ociworks.errors import (
    ContentError,
    ImageFileError,
    ImageFileNotFound,
    LayerError,
    LimitExceeded,
    TarError,
)
from ociworks.image import Image, Limits, export, merged_entries
from ociworks.image.files import ImageFiles
from ociworks.image.layer import layer_from_entries
from ociworks.image.stream import VerifiedStream
from ociworks.image.types import ByteStream, Layer
from ociworks.spec import Digest
from ociworks.spec.image import Descriptor
from tests.image import archives
from tests.image.archives import apply, directory, file, hardlink, layer, listing, symlink


def image(*layers: bytes) -> Image:
    return testing.image_from_layers(list(layers))


@pytest.fixture
def img() -> Image:
    return image(
        layer(
            directory(b"etc"),
            file(b"etc/os-release", b"ID=old\n"),
            file(b"etc/gone", b"x"),
            directory(b"usr"),
            directory(b"usr/bin"),
            file(b"usr/bin/tool", b"tool", mode=0o4755),
            symlink(b"bin", b"usr/bin"),
            directory(b"opaque"),
            file(b"opaque/old", b"x"),
        ),
        layer(
            file(b"etc/os-release", b"ID=new\n"),
            file(b"etc/.wh.gone"),
            file(b"bin/added", b"through a link"),
            file(b"opaque/new", b"n"),
            file(b"opaque/.wh..wh..opq"),
            hardlink(b"alias", b"usr/bin/tool"),
            symlink(b"etc/up", b"../../../etc/os-release"),
            symlink(b"loop", b"loop"),
            symlink(b"dangling", b"/nowhere"),
        ),
    )


def test_reading(img: Image) -> None:
    files = img.files()
    assert files.read_text("/etc/os-release") == "ID=new\n"
    assert files.read_bytes(b"etc/up") == b"ID=new\n"
    assert files.read_bytes("/bin/added") == files.read_bytes("/usr/bin/added") == b"through a link"
    assert files.read_bytes("alias") == b"tool"
    assert files.read_bytes("/bin/../bin/./tool") == b"tool"  # from the link's target up, like a process
    assert files.listdir("/opaque") == ["new"]
    assert files.listdir() == ["alias", "bin", "dangling", "etc", "loop", "opaque", "usr"]
    assert files.entry("/bin/tool").parts == (b"usr", b"bin", b"tool")
    assert files.entry("/bin", follow=False).target == b"usr/bin"
    assert files.entry("/bin").type == "directory"
    assert (files.entry("bin/tool").mode, files.entry("/").type) == (0o4755, "directory")
    assert [files.exists(path) for path in ("/etc", "/etc/gone", "/loop", "/dangling", "/etc/up/x")] == [
        True,
        False,
        False,
        False,
        False,
    ]


def test_open_gives_a_real_file(img: Image) -> None:
    with img.files().open("/bin/added") as opened:
        assert opened.read(4) == b"thro"
        assert opened.seek(-4, os.SEEK_END) == 10
        assert opened.read() == b"link"
        assert opened.seek(8) == 8
        assert opened.tell() == 8
        assert opened.readline() == b"a link"


def test_walk_and_glob(img: Image) -> None:
    files = img.files()
    assert [path for path, _ in files.walk("/usr")] == [
        "/usr/bin",
        "/usr/bin/added",
        "/usr/bin/tool",
    ]
    assert [path for path, entry in files.walk() if entry.mode & 0o4000] == ["/alias", "/usr/bin/tool"]
    assert files.glob("/usr/*/t*") == ["/usr/bin/tool"]
    assert files.glob("**/os-release") == ["/etc/os-release"]
    assert files.glob("/usr/**") == ["/usr", "/usr/bin", "/usr/bin/added", "/usr/bin/tool"]
    assert files.glob("/[ae]*") == ["/alias", "/etc"]
    assert files.glob("/**/**/" + "*/" * 2 + "added") == ["/usr/bin/added"]


def test_errors_say_what_is_there(img: Image) -> None:
    files = img.files()
    for missing in ("/etc/gone", "/dangling", "/loop", "/etc/os-release/x"):
        with pytest.raises(ImageFileNotFound, match="in the image"):
            files.read_bytes(missing)
    with pytest.raises(FileNotFoundError):
        files.entry("/nothing")
    with pytest.raises(ImageFileError, match="is a directory, not a file"):
        files.read_bytes("/etc")
    with pytest.raises(ImageFileError, match="is a file, not a directory"):
        files.listdir("/etc/os-release")
    with pytest.raises(LimitExceeded, match="limit"):
        files.read_bytes("/etc/os-release", limit=3)


@st.composite
def items(draw: st.DrawFn) -> bytes:
    parts = draw(st.lists(st.sampled_from([b"a", b"b", b"l"]), min_size=1, max_size=3))
    name = b"/".join(parts)
    kind = draw(st.sampled_from(["file", "file", "dir", "link", "hard", "white", "opaque"]))
    if kind == "file":
        return file(name, draw(st.sampled_from([b"", b"1", b"22"])))
    if kind == "dir":
        return directory(name, mode=draw(st.sampled_from([0o755, 0o700])))
    other = b"/".join(draw(st.lists(st.sampled_from([b"a", b"b", b"l"]), min_size=1, max_size=2)))
    if kind == "link":
        return symlink(name, draw(st.sampled_from([b"", b"/", b"../"])) + other)
    if kind == "hard":
        return hardlink(name, other)
    if kind == "white":
        return file(b"/".join([*parts[:-1], b".wh." + parts[-1]]))
    return file(name + b"/.wh..wh..opq")


LAYERS = st.lists(st.lists(items(), max_size=7).map(lambda found: layer(*found)), min_size=1, max_size=3)


def seen(files: ImageFiles) -> dict[str, str | bytes]:
    found: dict[str, str | bytes] = {}
    for path, entry in files.walk():
        if entry.type == "symlink":
            found[path[1:]] = "-> " + os.fsdecode(entry.target)
        elif entry.type == "directory":
            found[path[1:]] = "dir"
        else:
            with files.open("/" + os.fsdecode(b"/".join(entry.parts))) as opened:
                found[path[1:]] = opened.read()
    return found


@settings(max_examples=300)
@given(LAYERS)
def test_the_view_is_what_unpacking_makes(layers: list[bytes]) -> None:
    """Links, hard links, whiteouts in any order, and what may not be: tree and refusal are the same."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        try:
            apply(root, *layers)
        except LayerError:
            with pytest.raises(LayerError):
                seen(image(*layers).files())
            return
        made = image(*layers)
        assert seen(made.files()) == listing(root)
        modes = {path[1:]: entry.mode for path, entry in made.files().walk() if entry.type != "symlink"}
        assert modes == {name: (root / name).lstat().st_mode & 0o7777 for name in modes}
        times = {path[1:]: entry.mtime_ns for path, entry in made.files().walk()}
        assert times == {name: (root / name).lstat().st_mtime_ns for name in times}


@settings(max_examples=200)
@given(LAYERS)
def test_an_export_unpacks_to_the_same_tree(layers: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, again = Path(folder, "root"), Path(folder, "again")
        root.mkdir()
        again.mkdir()
        try:
            apply(root, *layers)
        except LayerError:
            return
        buffer = io.BytesIO()
        export(image(*layers), buffer)
        apply(again, buffer.getvalue())
        assert facts(again) == facts(root)


def facts(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything that a layer says of a tree; names of one inode share a number."""
    inodes: dict[int, int] = {}
    contents = listing(root)
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        found[str(path.relative_to(root))] = (
            info.st_mode,
            info.st_uid,
            info.st_gid,
            info.st_mtime_ns,
            inodes.setdefault(info.st_ino, len(inodes)),
            contents[str(path.relative_to(root))],
        )
    return found


def test_an_export_is_one_archive(img: Image, tmp_path: Path) -> None:
    target = tmp_path / "root.tar"
    target.write_bytes(b"old")
    export(img, target)
    buffer = io.BytesIO()
    export(img, buffer)
    assert target.read_bytes() == buffer.getvalue()
    with tarfile.open(target) as archive:
        names = archive.getnames()
        assert not any(".wh." in name for name in names)
        assert len(names) == len(set(names))
        linked = next(member for member in archive if member.islnk())
        assert (linked.name, linked.linkname) == ("usr/bin/tool", "alias")
    assert os.listdir(tmp_path) == ["root.tar"]
    if shutil.which("tar"):
        (tmp_path / "gnu").mkdir()
        subprocess.run(["tar", "-xf", target, "-C", tmp_path / "gnu"], check=True)
        assert (tmp_path / "gnu" / "bin" / "added").read_bytes() == b"through a link"


def test_hard_links_to_shadowed_files_keep_their_content() -> None:
    """One pass from the top would write a link to the file that replaced the target."""
    made = image(
        layer(file(b"a", b"old content")),
        layer(hardlink(b"b", b"a")),
        layer(file(b"a", b"new")),
        layer(file(b"c", b"c")),
    )
    found = {
        entry.path: (entry.type, b"".join(map(bytes, content)))
        for entry, content in merged_entries(made.layers)
    }
    assert found == {b"a": ("file", b"new"), b"b": ("file", b"old content"), b"c": ("file", b"c")}


def test_merged_entries_make_a_flat_layer(img: Image) -> None:
    flat = layer_from_entries(merged_entries(img.layers))
    with flat.uncompressed() as stream:
        again = image(stream.read())
    assert seen(again.files()) == seen(img.files())


class Fickle(Layer):
    """A layer that gives other bytes when it is read again."""

    def __init__(self, first: Layer, then: Layer) -> None:
        self._first, self._then, self.reads = first, then, 0

    @property
    def descriptor(self) -> Descriptor:
        return self._first.descriptor

    @property
    def diff_id(self) -> Digest:
        return self._first.diff_id

    def open(self) -> ByteStream:
        self.reads += 1
        with (self._first if self.reads == 1 else self._then).open() as stream:
            return VerifiedStream(io.BytesIO(stream.read()), self.descriptor)


def test_rg_09_content_is_shown_only_after_it_was_proved() -> None:
    good = Layer.from_files({"etc/passwd": b"root:x:0:0::/:/bin/sh"})
    evil = Layer.from_files({"etc/passwd": b"toor::0:0::/:/bin/sh\n"})
    files = ImageFiles([Fickle(good, evil)])
    assert files.exists("/etc/passwd")
    with pytest.raises(ContentError):
        files.read_bytes("/etc/passwd")
    with pytest.raises(ContentError):
        files.open("/etc/passwd")


def test_layers_are_read_lazily_and_once() -> None:
    given = Layer.from_files({"a": b"1", "b": b"2"})
    counted = Fickle(given, given)
    files = ImageFiles([counted])
    assert counted.reads == 0
    assert files.listdir() == ["a", "b"]
    assert counted.reads == 1
    assert (files.read_bytes("a"), files.read_bytes("b"), files.read_bytes("a")) == (b"1", b"2", b"1")
    assert counted.reads == 2


def test_un_14_hostile_layers_stay_within_bounds() -> None:
    many = image(layer(*(file(b"%d" % number) for number in range(50))))
    with pytest.raises(LimitExceeded, match="entries_per_layer"):
        ImageFiles(many.layers, Limits(entries_per_layer=20)).exists("/x")
    with pytest.raises(LimitExceeded, match="entries_per_image"):
        ImageFiles((*many.layers, *many.layers), Limits(entries_per_image=60)).exists("/x")
    deep = image(layer(file(b"d/" * 30 + b"f")))
    with pytest.raises(LimitExceeded):
        ImageFiles(deep.layers, Limits(depth=10)).exists("/x")
    bomb = image(layer(file(b"zeros", bytes(1 << 20))))
    with pytest.raises(LimitExceeded, match="unpacked_bytes"):
        ImageFiles(bomb.layers, Limits(unpacked_bytes_per_layer=1 << 19)).exists("/x")


def test_un_04_links_in_circles_end() -> None:
    rounds = image(layer(symlink(b"a", b"b/x"), symlink(b"b", b"a/y")))
    assert not rounds.files().exists("/a/b/c")
    chain = image(layer(*(symlink(b"l%d" % n, b"l%d" % (n + 1)) for n in range(60)), file(b"l60", b"end")))
    assert not chain.files().exists("/l0")
    assert chain.files().read_bytes("/l30") == b"end"
    with pytest.raises(TarError, match="leads nowhere"):
        image(layer(symlink(b"a", b"a"), file(b"a/x"))).files().exists("/")


def test_un_12_a_million_whiteouts_of_one_place_stay_cheap() -> None:
    lower = layer(*(file(b"d/%d" % number) for number in range(2000)))
    upper = layer(
        *([file(b"d/.wh..wh..opq")] * 2000), *(file(b"d/.wh.%d" % number) for number in range(2000))
    )
    assert image(lower, upper).files().listdir("/d") == []


def test_several_threads_may_ask(img: Image) -> None:
    files = img.files()
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: answers.append(files.read_bytes("/etc/os-release"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b"ID=new\n"] * 8


def test_names_that_are_not_text() -> None:
    files = image(layer(file(b"\xff\xfe", b"1"))).files()
    assert files.listdir() == ["\udcff\udcfe"]
    assert files.read_bytes("/\udcff\udcfe") == files.read_bytes(b"\xff\xfe") == b"1"


def test_kept_contents_go_with_the_view() -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    files = image(layer(file(b"large", os.urandom(3 << 20)))).files()
    with files.open("/large") as opened:
        assert len(opened.read()) == 3 << 20
    del files, opened
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "root.tar"
    with pytest.raises(TarError):
        export(image(layer(file(b"a", b"1"), hardlink(b"b", b"missing"))), target)
    assert os.listdir(tmp_path) == []


def test_only_files_that_are_visible_are_kept() -> None:
    files = image(
        layer(file(b"hidden", b"h" * 1000), file(b"shown", b"s")), layer(file(b".wh.hidden"))
    ).files()
    assert files.read_bytes("shown") == b"s"
    assert files._contents[0].spool.size == 1


def test_un_18_holes_count_as_bytes() -> None:
    """A sparse file of a few bytes may unfold to anything; several of them come to more than one may have."""
    records = {
        b"GNU.sparse.major": b"1",
        b"GNU.sparse.minor": b"0",
        b"GNU.sparse.realsize": b"%d" % (1 << 20),
        b"GNU.sparse.name": b"holes",
    }
    one = archives.entry(b"GNUSparseFile.0/holes", b"0", b"0\n".ljust(512, b"\0"), records=records)
    made = image(layer(one))
    assert made.files().read_bytes("holes") == bytes(1 << 20)
    with pytest.raises(LimitExceeded, match="sparse"):
        ImageFiles(image(layer(*[one] * 5)).layers, Limits(unpacked_bytes_per_layer=4 << 20)).exists("/holes")
