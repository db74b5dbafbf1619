"""Layers on top: what stays is not touched, what is added has its step and its diff ID."""

from __future__ import annotations

import pytest
from attrs import evolve, frozen

from ociworks import testing
from ociworks.errors import ImageConfigError, NotSupported
from ociworks.image import mutate, partial, validate
from ociworks.image.types import ByteStream, Image, Layer
from ociworks.spec import Digest, FrozenDict, parse, to_json
from ociworks.spec.image import (
    EMPTY,
    Descriptor,
    History,
    ImageConfiguration,
    Manifest,
    mediatypes,
)
from tests.image.mutate.images import NoBlobs, docker, with_config, with_manifest


def some_layer(seed: int = 9) -> Layer:
    return testing.random_image(layers=1, seed=seed).layers[0]


@frozen
class Unreadable(Layer):
    """A layer that may be described, moved and listed, but not read."""

    layer: Layer

    @property
    def descriptor(self) -> Descriptor:
        return self.layer.descriptor

    @property
    def diff_id(self) -> Digest:
        return self.layer.diff_id

    def open(self) -> ByteStream:
        raise AssertionError("a layer was read")


def test_appended_layers_are_on_top_in_order() -> None:
    base, first, second = testing.random_image(layers=2), some_layer(1), some_layer(2)
    img = mutate.append(base, first, second)
    assert [layer.digest for layer in img.layers] == [
        *(layer.digest for layer in base.layers),
        first.digest,
        second.digest,
    ]
    assert img.config.rootfs.diff_ids[-2:] == (first.diff_id, second.diff_id)
    assert len(img.config.history) == 4
    validate.image(img).raise_if_failed()


def test_the_base_does_not_change() -> None:
    base = testing.random_image(layers=2)
    before = base.raw_manifest, base.raw_config, base.layers
    mutate.append(base, some_layer())
    assert (base.raw_manifest, base.raw_config, base.layers) == before


def test_layers_that_stay_are_the_same_objects_and_no_layer_is_read() -> None:
    base = testing.random_image(layers=2)
    img = mutate.append(base, Unreadable(some_layer()))
    assert img.layers[:2] == base.layers
    assert all(mine is theirs for mine, theirs in zip(img.layers, base.layers, strict=False))


def test_appending_nothing_is_the_image_itself() -> None:
    base = testing.random_image()
    assert mutate.append(base) is base


def test_append_is_reproducible() -> None:
    """No time enters by itself: equal arguments give equal bytes."""
    one = mutate.append(testing.random_image(), some_layer())
    two = mutate.append(testing.random_image(), some_layer())
    assert one.raw_manifest == two.raw_manifest


def test_the_step_can_be_given() -> None:
    step = History(created_by="COPY site /srv", author="me", created="2026-01-02T03:04:05Z")
    img = mutate.append(testing.random_image(), some_layer(), history=step)
    assert img.config.history[-1] == step
    with pytest.raises(ImageConfigError, match="empty_layer"):
        mutate.append(img, some_layer(), history=History(empty_layer=True))


def test_an_image_without_history_gets_one_that_fits() -> None:
    """With a single step for three layers, readers that pair them would pair the wrong ones."""
    base = with_config(testing.random_image(layers=2), lambda config: evolve(config, history=()))
    img = mutate.append(base, some_layer())
    assert [step.created_by for step in img.config.history] == [None, None, "ociworks append"]
    validate.image(img).raise_if_failed()


def test_more_steps_than_layers_are_refused() -> None:
    base = with_config(
        testing.random_image(layers=1), lambda config: evolve(config, history=(*config.history, History()))
    )
    with pytest.raises(ImageConfigError, match="2 layers were made"):
        mutate.append(base, some_layer())


def test_unknown_members_survive() -> None:
    """What a newer specification or another tool wrote is written back."""
    base = with_config(
        testing.random_image(), lambda config: evolve(config, extra=FrozenDict({"container": "c0ffee"}))
    )
    base = with_manifest(
        base,
        lambda value: evolve(value, extra=FrozenDict({"org.example.new": FrozenDict({"deep": (1, None)})})),
    )
    img = mutate.append(base, some_layer())
    assert parse(ImageConfiguration, img.raw_config).extra == {"container": "c0ffee"}
    assert parse(Manifest, img.raw_manifest).extra == {"org.example.new": {"deep": (1, None)}}


def test_a_docker_image_stays_one() -> None:
    """A manifest that mixes Docker's and OCI's types is refused by registries and runtimes."""
    img = mutate.append(docker(testing.random_image(layers=1)), some_layer())
    assert img.manifest.media_type == mediatypes.DOCKER_MANIFEST
    assert {layer.media_type for layer in img.layers} == {mediatypes.DOCKER_LAYER_GZIP}
    validate.image(img).raise_if_failed()


def test_a_layer_under_another_name_is_still_known_where_it_lies() -> None:
    """A registry that has the bytes can mount them, whatever the manifest calls them."""
    layer = some_layer()
    img = mutate.append(docker(testing.random_image(layers=1)), layer)
    assert img.layers[-1].descriptor != layer.descriptor
    assert partial.source_of(img.layers[-1]) is partial.source_of(layer)


def test_what_is_no_layer_is_refused() -> None:
    strange = partial.layer(Descriptor.of(b"{}", "application/json"), Digest.of(b"{}"), NoBlobs())
    with pytest.raises(ImageConfigError, match="expected a filesystem layer"):
        mutate.append(testing.random_image(), strange)


def test_an_artifact_has_no_place_for_layers() -> None:
    manifest = Manifest(
        media_type=mediatypes.OCI_MANIFEST, artifact_type="application/x", config=EMPTY, layers=()
    )
    artifact = partial.image(to_json(manifest), b"{}", NoBlobs())
    with pytest.raises(NotSupported, match="artifact"):
        mutate.append(artifact, some_layer())


def test_a_manifest_without_media_type_stays_without() -> None:
    base = with_manifest(testing.random_image(), lambda value: evolve(value, media_type=None))
    img = mutate.append(base, some_layer())
    assert img.manifest.media_type is None
    assert img.descriptor.media_type == mediatypes.OCI_MANIFEST
    assert partial.from_layers(
        img.raw_manifest, img.raw_config, img.layers, media_type=mediatypes.OCI_MANIFEST
    ).digest == (img.digest)


def test_the_platform_of_the_descriptor_stays() -> None:
    idx = testing.random_index(("linux/arm64/v8",))
    img = mutate.append(idx.image("linux/arm64"), some_layer())
    assert str(img.descriptor.platform) == "linux/arm64/v8"


def test_scratch() -> None:
    empty = mutate.scratch("linux/arm/v7")
    validate.image(empty).raise_if_failed()
    img: Image = mutate.append(empty, some_layer())
    assert str(img.config.platform) == "linux/arm/v7"
    assert len(img.config.history) == 1
    validate.image(img).raise_if_failed()
