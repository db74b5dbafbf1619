"""One time for everything: reproducible, idempotent, and nothing but times changes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from attrs import evolve
from hypothesis import given, settings

from ociworks import testing
from ociworks.errors import SpecError
from ociworks.image import mutate, validate
from ociworks.image.types import Image
from ociworks.spec.image import History, mediatypes
from ociworks.spec.image.annotations import CREATED, TITLE
from ociworks.testing.images import Compression
from tests.image.archives import entry, layer
from tests.image.mutate.images import docker, with_config, with_manifest
from tests.image.mutate.trees import IMAGES, Tree, tree_of

WHEN = 1_600_000_000
STAMP = "2020-09-13T12:26:40Z"


def timed(*times: int) -> Image:
    return testing.image_from_layers(
        [layer(*(entry(b"f%d" % number, mtime=time) for number, time in enumerate(times)))]
    )


def times(img: Image) -> list[int]:
    return [found.mtime_ns // 10**9 for each in img.layers for found in each.entries()]


def without_times(tree: Tree) -> Tree:
    return {name: (*parts[:3], *parts[4:]) for name, parts in tree.items()}


@settings(max_examples=60)
@given(IMAGES)
def test_nothing_but_times_changes(img: Image) -> None:
    for clamp in (False, True):
        new = mutate.time(img, WHEN, clamp=clamp)
        validate.image(new).raise_if_failed()
        assert without_times(tree_of(new)) == without_times(tree_of(img))
        assert mutate.time(new, WHEN, clamp=clamp) is new
        assert max(times(new), default=0) <= WHEN


def test_all_times_are_set() -> None:
    img = with_config(
        timed(0, 1, 2_000_000_000),
        lambda config: evolve(
            config, created="2030-01-01T00:00:00Z", history=(History(created="2031-01-01T00:00:00+02:00"),)
        ),
    )
    img = mutate.annotate(img, {CREATED: "2032-01-01T00:00:00Z"})
    new = mutate.time(img, WHEN)
    assert times(new) == [WHEN] * 3
    assert new.config.created == STAMP
    assert new.config.history[0].created == STAMP
    assert new.manifest.annotations == {CREATED: STAMP}


def test_clamp_leaves_what_is_earlier() -> None:
    """SOURCE_DATE_EPOCH: nothing is later than that."""
    img = with_config(
        timed(0, WHEN, WHEN + 1),
        lambda config: evolve(
            config,
            created="2020-09-13T12:26:40.000000001Z",
            history=(History(created="2020-09-13T14:26:39+02:00"),),
        ),
    )
    new = mutate.time(img, WHEN, clamp=True)
    assert times(new) == [0, WHEN, WHEN]
    assert new.config.history[0].created == "2020-09-13T14:26:39+02:00"
    later = with_config(img, lambda config: evolve(config, created="2021-01-01T00:00:00Z"))
    assert mutate.time(later, WHEN, clamp=True).config.created == STAMP


def test_clamp_keeps_layers_in_which_nothing_is_later() -> None:
    """A base image is shared afterwards as before."""
    img = mutate.append(timed(0, 1), timed(WHEN + 5).layers[0])
    new = mutate.time(img, WHEN, clamp=True)
    assert new.layers[0] is img.layers[0]
    assert new.layers[1].digest != img.layers[1].digest


def test_two_builds_of_the_same_become_the_same() -> None:
    one, two = timed(5, 6, 7), timed(8, 9, 10)
    assert one.digest != two.digest
    assert mutate.time(one, WHEN).raw_manifest == mutate.time(two, WHEN).raw_manifest


def test_what_has_no_time_gets_none() -> None:
    """Steps and annotations without a time stay without; only the configuration always has one."""
    bare = with_config(timed(1), lambda config: evolve(config, created=None))
    new = mutate.time(bare, WHEN)
    assert new.config.created == STAMP
    assert new.config.history[0].created is None
    assert CREATED not in new.manifest.annotations
    assert mutate.time(bare, WHEN, clamp=True).config.created is None


def test_documents_only() -> None:
    img = timed(1)
    new = mutate.time(img, WHEN, layers=False)
    assert new.layers == img.layers
    assert new.config.created == STAMP


def test_datetimes() -> None:
    when = datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)
    assert mutate.time(timed(1), when).digest == mutate.time(timed(1), WHEN).digest
    for wrong in (datetime(2020, 1, 1), -1, 253_402_300_800):  # noqa: DTZ001 - that is the point
        with pytest.raises(SpecError):
            mutate.time(timed(1), wrong)


def test_a_time_that_is_none() -> None:
    odd = with_config(timed(1), lambda config: evolve(config, created="yesterday"))
    assert mutate.time(odd, WHEN).config.created == STAMP
    with pytest.raises(SpecError, match="yesterday"):
        mutate.time(odd, WHEN, clamp=True)


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_compression_and_family_stay(compression: Compression) -> None:
    img = testing.random_image(compression=compression)
    new = mutate.time(img, WHEN)
    assert [each.media_type for each in new.layers] == [each.media_type for each in img.layers]
    validate.image(new).raise_if_failed()


def test_docker_images() -> None:
    img = docker(testing.random_image())
    new = mutate.time(img, WHEN)
    assert [each.media_type for each in new.layers] == [each.media_type for each in img.layers]


def test_annotations_that_describe_the_old_bytes_go() -> None:
    said = {TITLE: "a layer", "containerd.io/snapshot/stargz/toc.digest": "sha256:…"}
    img = with_manifest(
        timed(1), lambda value: evolve(value, layers=(evolve(value.layers[0], annotations=said),))
    )
    new = mutate.time(img, WHEN)
    assert new.manifest.layers[0].annotations == {TITLE: "a layer"}
    validate.image(new).raise_if_failed()


def test_layers_that_only_others_may_give_out_stay() -> None:
    restricted = mediatypes.OCI_NONDISTRIBUTABLE_LAYER_GZIP
    img = with_manifest(
        timed(1), lambda value: evolve(value, layers=(evolve(value.layers[0], media_type=restricted),))
    )
    assert mutate.time(img, WHEN).layers == img.layers
