"""Annotations, subjects, artifact types and media types, of images and of indexes."""

from __future__ import annotations

import pytest
from attrs import evolve

from ociworks import testing
from ociworks.errors import InvalidSpec, NotSupported
from ociworks.image import ImageIndex, mutate, validate
from ociworks.spec import Platform
from ociworks.spec.image import mediatypes
from ociworks.spec.image.annotations import CREATED, REVISION
from ociworks.testing.images import Compression
from tests.image.mutate.images import docker, with_manifest


def test_annotations_of_an_image() -> None:
    img = mutate.annotate(testing.random_image(), {REVISION: "9f2c", "x": "y"})
    img = mutate.annotate(img, {"x": None, "nope": None})
    assert img.manifest.annotations == {REVISION: "9f2c"}
    validate.image(img).raise_if_failed()


def test_annotations_of_an_index() -> None:
    """Its images can still be had, and stay as they are."""
    before = testing.random_index()
    idx = mutate.annotate(before, {REVISION: "9f2c"})
    assert isinstance(idx, ImageIndex)
    assert idx.index.annotations == {REVISION: "9f2c"}
    assert idx.image("linux/arm64").digest == before.image("linux/arm64").digest
    validate.index(idx).raise_if_failed()


def test_no_change_keeps_every_byte() -> None:
    img, idx = testing.random_image(), testing.random_index()
    assert mutate.annotate(img, {"nope": None}) is img
    assert mutate.annotate(idx, {}) is idx
    assert mutate.subject(img, None) is img
    assert mutate.media_types(img, "oci") is img
    assert mutate.media_types(idx, "oci") is idx


def test_forbidden_annotations() -> None:
    for wrong in ({"": "x"}, {CREATED: "yesterday"}, {"x": 7}):
        with pytest.raises(InvalidSpec):
            mutate.annotate(testing.random_image(), wrong)  # type: ignore[arg-type]


def test_subjects() -> None:
    """A subject is media type, digest and size: the platform of where it was found is not part of it."""
    about = testing.random_index().image("linux/arm64")
    img = mutate.subject(testing.random_image(), about)
    assert img.manifest.subject is not None
    assert img.manifest.subject.digest == about.digest
    assert img.manifest.subject.platform is None
    assert mutate.subject(img, None).digest == testing.random_image().digest
    idx = mutate.subject(testing.random_index(), about)
    assert idx.index.subject == img.manifest.subject


def test_artifact_types() -> None:
    img = mutate.artifact_type(testing.random_image(), "application/vnd.example.thing")
    assert img.manifest.artifact_type == "application/vnd.example.thing"
    assert mutate.artifact_type(img, None).digest == testing.random_image().digest
    assert (
        mutate.artifact_type(testing.random_index(), "application/x").index.artifact_type == "application/x"
    )
    with pytest.raises(InvalidSpec):
        mutate.artifact_type(img, "no media type")


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_docker_and_back(compression: Compression) -> None:
    """The documents change their words, the layers keep their bytes; back again, every byte is as before."""
    img = testing.random_image(layers=2, compression=compression)
    there = mutate.media_types(img, "docker")
    assert there.manifest.media_type == mediatypes.DOCKER_MANIFEST
    assert there.manifest.config.media_type == mediatypes.DOCKER_CONFIG
    assert {layer.media_type for layer in there.layers} & {
        mediatypes.DOCKER_LAYER,
        mediatypes.DOCKER_LAYER_GZIP,
        mediatypes.DOCKER_LAYER_ZSTD,
    }
    assert [layer.digest for layer in there.layers] == [layer.digest for layer in img.layers]
    validate.image(there).raise_if_failed()
    assert mutate.media_types(there, "oci").raw_manifest == img.raw_manifest


def test_an_index_with_all_its_images() -> None:
    idx = testing.random_index()
    there = mutate.media_types(idx, "docker")
    assert there.descriptor.media_type == mediatypes.DOCKER_MANIFEST_LIST
    assert there.image("linux/arm64").manifest.media_type == mediatypes.DOCKER_MANIFEST
    assert [entry.platform for entry in there.index.manifests] == [
        Platform.parse("linux/amd64"),
        Platform.parse("linux/arm64"),
    ]
    validate.index(there).raise_if_failed()
    assert mutate.media_types(there, "oci").raw_index == idx.raw_index


def test_a_real_docker_image_becomes_oci() -> None:
    img = mutate.media_types(docker(testing.random_image()), "oci")
    assert img.digest == testing.random_image().digest


def test_a_document_that_does_not_state_its_type() -> None:
    """It is OCI's already, and stays as it is; as Docker's it has to say so."""
    img = with_manifest(testing.random_image(), lambda value: evolve(value, media_type=None))
    assert mutate.media_types(img, "oci") is img
    assert mutate.media_types(img, "docker").manifest.media_type == mediatypes.DOCKER_MANIFEST


def test_what_docker_cannot_say_is_not_lost_silently() -> None:
    """Annotations of a document or of a layer go only when that is said; a subject never goes."""
    img = mutate.annotate(testing.random_image(), {"a": "b"})
    noted = with_manifest(
        testing.random_image(1),
        lambda value: evolve(value, layers=(evolve(value.layers[0], annotations={"a": "b"}),)),
    )
    for odd in (img, noted):
        with pytest.raises(NotSupported, match="drop them"):
            mutate.media_types(odd, "docker")
        dropped = mutate.media_types(odd, "docker", drop_annotations=True)
        assert (dropped.manifest.annotations, dropped.layers[0].descriptor.annotations) == ({}, {})
        validate.image(dropped).raise_if_failed()
    for lost in (mutate.subject(img, testing.random_image()), mutate.artifact_type(img, "application/x")):
        with pytest.raises(NotSupported, match="remove them first"):
            mutate.media_types(lost, "docker", drop_annotations=True)
    with pytest.raises(NotSupported):
        mutate.media_types(mutate.subject(testing.random_index(), img), "docker")
