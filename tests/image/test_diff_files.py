"""The files that two images differ in: found without unpacking, and the same that unpacking would show."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from ociworks import testing
from ociworks.image import Layer, diff, mutate, partial
from ociworks.image.diff import FileChange
from ociworks.image.types import ByteStream, Image
from ociworks.spec import Digest
from ociworks.spec.image import Descriptor
from tests.image.archives import directory, entry, file, hardlink, layer, symlink
from tests.image.mutate.images import LayerBlobs
from tests.image.mutate.trees import IMAGES, tree_of
from tests.image.test_notebook import html_of, read


def image(*layers: bytes) -> Image:
    return testing.image_from_layers(layers)


def files(old: Image, new: Image, *, times: bool = False) -> dict[str, tuple[str, ...] | str]:
    found = diff.images(old, new, times=times).files
    assert found is not None
    return {each.path: each.differences or each.kind for each in found}


@settings(max_examples=100)
@given(IMAGES, IMAGES)
def test_the_same_as_unpacking_shows(old: Image, new: Image) -> None:
    """Added, removed and changed names are those of the two trees on disk; also for an image and its own base."""
    for left, right in (
        (old, new),
        (new, mutate.append(new, *old.layers)) if _fits(new, old) else (old, new),
    ):
        before, after = tree_of(left), tree_of(right)
        found = {
            path.removeprefix("/"): each
            for path, each in files(left, right, times=True).items()
            if path != "/"
        }
        assert {path for path, each in found.items() if each == "added"} == after.keys() - before.keys()
        assert {path for path, each in found.items() if each == "removed"} == before.keys() - after.keys()
        changed = {path for path, each in found.items() if each not in ("added", "removed")}
        assert changed == {path for path in before.keys() & after.keys() if before[path] != after[path]}


def _fits(base: Image, more: Image) -> bool:
    from ociworks.errors import TarError

    try:
        tree_of(mutate.append(base, *more.layers))
    except TarError:
        return False
    return True


def test_each_difference_by_its_name() -> None:
    old = image(
        layer(
            directory(b"dir"),
            file(b"same", b"1"),
            file(b"content", b"1"),
            file(b"size", b"1"),
            file(b"mode", b"1"),
            entry(b"owner", uid=1),
            symlink(b"link", b"here"),
            file(b"type", b"1"),
            entry(b"xattr", records={b"SCHILY.xattr.user.a": b"1"}),
            entry(b"device", b"3", device=(1, 3)),
            entry(b"time", mtime=1),
            file(b"gone", b"1"),
            file(b"one", b"x"),
            hardlink(b"two", b"one"),
        )
    )
    new = image(
        layer(
            directory(b"dir"),
            file(b"same", b"1"),
            file(b"content", b"2"),
            file(b"size", b"22"),
            file(b"mode", b"1", mode=0o755),
            entry(b"owner", uid=2),
            symlink(b"link", b"there"),
            directory(b"type", mode=0o644),
            entry(b"xattr", records={b"SCHILY.xattr.user.a": b"2"}),
            entry(b"device", b"3", device=(1, 5)),
            entry(b"time", mtime=2),
            file(b"new", b"1"),
            file(b"one", b"x"),
            file(b"two", b"x"),
        )
    )
    assert files(old, new) == {
        "/content": ("content",),
        "/device": ("device",),
        "/gone": "removed",
        "/link": ("target",),
        "/mode": ("mode",),
        "/new": "added",
        "/owner": ("owner",),
        "/size": ("size", "content"),
        "/two": ("links",),
        "/type": ("type", "size"),
        "/xattr": ("xattrs",),
    }
    assert files(old, new, times=True)["/time"] == ("time",)


class Counted(LayerBlobs):
    """Counts how often each layer is opened."""

    def __init__(self, img: Image) -> None:
        super().__init__(img)
        self.opened: dict[Digest, int] = {}

    def open_blob(self, descriptor: Descriptor, /) -> ByteStream:
        self.opened[descriptor.digest] = self.opened.get(descriptor.digest, 0) + 1
        return super().open_blob(descriptor)

    @classmethod
    def of(cls, img: Image) -> tuple[Image, Counted]:
        blobs = cls(img)
        return partial.image(img.raw_manifest, img.raw_config, blobs), blobs


def test_layers_are_read_as_little_as_possible() -> None:
    """Not at all when both have the same ones; once when an image grew, which is the usual question."""
    base, blobs = Counted.of(testing.random_image(layers=2))
    diff.images(base, mutate.config(base, mutate.Changes(user="7")))
    assert blobs.opened == {}
    diff.images(base, mutate.append(base, Layer.from_files({"x": b"1"})))
    assert set(blobs.opened.values()) == {1}
    diff.images(base, mutate.append(base, Layer.from_files({"x": b"1"})), files=False)
    assert set(blobs.opened.values()) == {1}


def test_files_need_not_be_compared() -> None:
    assert diff.images(testing.random_image(1), testing.random_image(2), files=False).files is None


def test_a_flattened_image_has_the_same_files() -> None:
    img = testing.random_image(layers=3)
    assert diff.images(img, mutate.flatten(img), times=True).files == ()


@pytest.mark.parametrize("name", [b"\x1b[2J", "\u202e".encode(), b"new\nline", b"\xff\xfe", b"<script>"])
def test_cl_04_names_of_files_are_text(name: bytes) -> None:
    """In the report, in JSON and in a notebook."""
    found = diff.images(image(layer(file(b"a"))), image(layer(file(b"a"), file(name, b"1"))))
    assert found.files is not None
    (change,) = found.files
    assert all(line.isprintable() for line in str(found).split("\n"))
    assert json.loads(found.to_json())["files"][0]["kind"] == "added"
    found.to_json().decode("ascii")
    assert "1 file" in read(html_of(found))
    assert isinstance(change, FileChange)


def test_text() -> None:
    old = image(layer(file(b"a", b"1"), file(b"b", b"1")))
    new = image(layer(file(b"a", b"2" * 2048, mode=0o600), directory(b"c")))
    lines = str(diff.images(old, new)).split("\n")
    assert lines[lines.index("files: 3") + 1 :] == [
        "  ~ /a  mode 0644 → 0600, size 1 B → 2.0 KiB, content",
        "  - /b  file, 1 B",
        "  + /c  directory",
    ]


def test_long_lists_are_cut_in_the_text() -> None:
    many = image(layer(*(file(b"f%04d" % number) for number in range(1200))))
    shown = str(diff.images(image(layer(file(b"x"))), many))
    assert "… and 201 more" in shown
