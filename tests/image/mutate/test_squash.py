"""Several layers as one: the tree stays, in full, whatever the layers did to each other."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ociworks import testing
from ociworks.errors import ImageConfigError, NotSupported
from ociworks.image import Layer, mutate, partial, validate
from ociworks.image.types import Image
from ociworks.spec import to_json
from ociworks.spec.image import EMPTY, History, Manifest, mediatypes
from tests.image.archives import directory, entry, file, hardlink, layer, symlink
from tests.image.mutate.images import NoBlobs, docker
from tests.image.mutate.trees import IMAGES, tree_of
from tests.image.test_diff_files import Counted


def names(each: Layer) -> list[str]:
    return [found.path.decode() for found in each.entries()]


def image(*layers: bytes) -> Image:
    return testing.image_from_layers(layers)


@settings(max_examples=150)
@given(IMAGES)
def test_flatten_keeps_the_tree(img: Image) -> None:
    flat = mutate.flatten(img)
    validate.image(flat).raise_if_failed()
    assert len(flat.layers) == 1
    assert tree_of(flat) == tree_of(img)
    if flat is not img:
        assert not any(".wh." in name for name in names(flat.layers[0]))


@settings(max_examples=150)
@given(IMAGES, st.data())
def test_squash_keeps_the_tree(img: Image, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(img.layers)))
    squashed = mutate.squash(img, start=start)
    validate.image(squashed).raise_if_failed()
    assert squashed.layers[:start] == img.layers[:start]
    assert tree_of(squashed) == tree_of(img)


@settings(max_examples=50)
@given(IMAGES)
def test_squash_is_idempotent_and_reproducible(img: Image) -> None:
    once = mutate.flatten(img)
    assert mutate.flatten(once) is once
    assert mutate.flatten(img).raw_manifest == once.raw_manifest


def test_what_came_and_went_is_not_in_the_layer() -> None:
    """A secret that a later layer deleted is really gone."""
    img = image(
        layer(file(b"base", b"1")),
        layer(file(b"secret", b"s3cr3t"), file(b"kept", b"2")),
        layer(file(b".wh.secret"), file(b".wh.base")),
    )
    squashed = mutate.squash(img, last=2)
    assert names(squashed.layers[1]) == [".wh.base", "kept"]
    assert names(mutate.flatten(img).layers[0]) == ["kept"]


def test_only_what_changed_is_in_the_layer() -> None:
    img = image(
        layer(directory(b"d"), file(b"d/a", b"1"), file(b"d/b", b"2")),
        layer(file(b"d/a", b"3")),
        layer(file(b"d/c", b"4")),
    )
    assert names(mutate.squash(img, last=2).layers[1]) == ["d/a", "d/c"]


def test_links_to_what_was_replaced_keep_the_old_content() -> None:
    """The content of a file that only a link still names comes from below."""
    img = image(
        layer(file(b"a", b"old")),
        layer(hardlink(b"b", b"a")),
        layer(file(b"a", b"new")),
    )
    squashed = mutate.squash(img, last=2)
    assert tree_of(squashed) == tree_of(img)
    assert {found.path: found.type for found in squashed.layers[1].entries()} == {b"a": "file", b"b": "file"}


def test_links_to_what_stays_are_links() -> None:
    img = image(layer(file(b"a", b"old")), layer(hardlink(b"b", b"a")), layer(hardlink(b"c", b"b")))
    (_, top) = mutate.squash(img, last=2).layers
    assert [(found.path, found.type, found.target) for found in top.entries()] == [
        (b"b", "hardlink", b"a"),
        (b"c", "hardlink", b"a"),
    ]
    counted, blobs = Counted.of(img)
    mutate.squash(counted, last=2)
    assert set(blobs.opened.values()) == {1}


def test_names_below_links_are_where_they_lead() -> None:
    img = image(
        layer(directory(b"usr"), directory(b"usr/lib"), symlink(b"lib", b"usr/lib")),
        layer(file(b"lib/x", b"1")),
        layer(file(b"usr/lib/x", b"2")),
    )
    squashed = mutate.squash(img, last=2)
    assert names(squashed.layers[1]) == ["usr/lib/x"]
    assert tree_of(squashed) == tree_of(img)


def test_a_directory_in_the_place_of_a_file_and_the_reverse() -> None:
    img = image(
        layer(directory(b"d"), file(b"d/x", b"1"), file(b"f", b"2")),
        layer(file(b".wh.d"), file(b".wh.f")),
        layer(file(b"d", b"3"), directory(b"f"), file(b"f/y", b"4")),
    )
    squashed = mutate.squash(img, last=2)
    assert tree_of(squashed) == tree_of(img)
    assert names(squashed.layers[1]) == ["f", "d", "f/y"]


def test_the_root_may_be_described() -> None:
    img = image(layer(directory(b"./", mode=0o700)), layer(file(b"a")))
    (only,) = mutate.flatten(img).layers
    assert next((found.path, found.mode) for found in only.entries()) == (b".", 0o700)
    more = image(layer(directory(b"./", mode=0o700)), layer(file(b"a")), layer(file(b"b")))
    assert names(mutate.squash(more, last=2).layers[1]) == ["a", "b"]


def test_a_directory_described_anew_is_written() -> None:
    img = image(layer(directory(b"d"), file(b"d/x")), layer(directory(b"d", mode=0o700)), layer(file(b"e")))
    assert names(mutate.squash(img, last=2).layers[1]) == ["d", "e"]


def test_history_stays_as_steps_without_layers() -> None:
    img = image(layer(file(b"a")), layer(file(b"b")), layer(file(b"c")))
    img = mutate.config(img, mutate.Changes(user="7", history=History(created_by="USER 7")))
    squashed = mutate.squash(img, last=2)
    assert [(step.created_by, bool(step.empty_layer)) for step in squashed.config.history] == [
        ("ociworks.testing", False),
        ("ociworks.testing", True),
        ("ociworks.testing", True),
        ("USER 7", True),
        ("ociworks squash", False),
    ]
    step = History(created_by="mine", created="2026-01-01T00:00:00Z")
    assert mutate.flatten(img, history=step, keep_history=False).config.history == (step,)
    with pytest.raises(ImageConfigError):
        mutate.flatten(img, history=History(empty_layer=True))


def test_nothing_to_squash_is_the_image_itself() -> None:
    img = testing.random_image(layers=2)
    assert mutate.squash(img, last=1) is img
    assert mutate.squash(img, last=0) is img
    assert mutate.squash(img, start=2) is img
    assert mutate.flatten(mutate.scratch("linux/amd64")).layers == ()


@pytest.mark.parametrize(
    "given", [{"last": 3}, {"last": -1}, {"start": 3}, {"start": -1}, {}, {"last": 1, "start": 1}]
)
def test_layers_that_are_not_there(given: dict[str, int]) -> None:
    last, start = given.get("last"), given.get("start")
    with pytest.raises(ImageConfigError):
        mutate.squash(testing.random_image(layers=2), last=last, start=start)


def test_compression_and_family_stay() -> None:
    assert (
        mutate.flatten(testing.random_image(compression="zstd")).layers[0].media_type
        == mediatypes.OCI_LAYER_ZSTD
    )
    flat = mutate.flatten(testing.random_image(), compression="none")
    assert flat.layers[0].media_type == mediatypes.OCI_LAYER
    flat = mutate.flatten(docker(testing.random_image()))
    assert flat.layers[0].media_type == mediatypes.DOCKER_LAYER_GZIP
    validate.image(flat).raise_if_failed()


def test_artifacts_cannot_be_squashed() -> None:
    manifest = Manifest(
        media_type=mediatypes.OCI_MANIFEST, artifact_type="application/x", config=EMPTY, layers=()
    )
    with pytest.raises(NotSupported):
        mutate.flatten(partial.image(to_json(manifest), b"{}", NoBlobs()))


def test_extended_attributes_devices_and_set_id_bits_stay() -> None:
    """Whoever squashes need not be root, and loses nothing of what root would have unpacked."""
    img = image(
        layer(entry(b"ping", b"0", b"x", records={b"SCHILY.xattr.user.a": b"b"}, mode=0o4755, uid=7)),
        layer(entry(b"null", b"3", device=(1, 3))),
    )
    (only,) = mutate.flatten(img).layers
    found = {each.path: each for each in only.entries()}
    assert (found[b"ping"].mode, found[b"ping"].uid) == (0o4755, 7)
    assert found[b"ping"].xattrs == {b"user.a": b"b"}
    assert found[b"null"].device == (1, 3)
