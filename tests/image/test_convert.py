"""Docker's media types and OCI's: other names for the same configuration and layers."""

from __future__ import annotations

import attrs
import pytest

from ociworks import testing
from ociworks.errors import NotSupported
from ociworks.image import partial
from ociworks.image.convert import convert
from ociworks.image.memory import MemoryBlobs
from ociworks.image.types import Image
from ociworks.spec import to_json
from ociworks.spec.image import Manifest, mediatypes


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_there_and_back(compression: str) -> None:
    image = testing.random_image(2, compression=compression)  # type: ignore[arg-type]
    docker = convert(image, "docker")
    assert docker.descriptor.media_type == docker.manifest.media_type == mediatypes.DOCKER_MANIFEST
    assert docker.manifest.config.media_type == mediatypes.DOCKER_CONFIG
    assert docker.raw_config == image.raw_config
    assert [layer.digest for layer in docker.layers] == [layer.digest for layer in image.layers]
    for mine, theirs in zip(docker.layers, image.layers, strict=True):
        with mine.uncompressed() as one, theirs.uncompressed() as two:
            assert one.read() == two.read()
    assert convert(docker, "docker") is docker
    assert convert(image, "oci") is image
    assert convert(docker, "oci").raw_manifest == image.raw_manifest


def test_indexes_with_all_their_images() -> None:
    index = testing.random_index()
    docker = convert(index, "docker")
    assert docker.index.media_type == mediatypes.DOCKER_MANIFEST_LIST
    assert {entry.media_type for entry in docker.index.manifests} == {mediatypes.DOCKER_MANIFEST}
    assert docker.image("linux/arm64").config.architecture == "arm64"
    assert [entry.platform for entry in docker.index.manifests] == [
        entry.platform for entry in index.index.manifests
    ]
    assert convert(docker, "oci").raw_index == index.raw_index


def artifact() -> Image:
    blobs = MemoryBlobs()
    manifest = Manifest(
        media_type=mediatypes.OCI_MANIFEST,
        artifact_type="application/vnd.example",
        config=blobs.add(b"{}", mediatypes.OCI_EMPTY),
        layers=(blobs.add(b"x", "text/plain"),),
    )
    return partial.image(to_json(manifest), b"{}", blobs)


def test_artifacts_are_ocis_alone() -> None:
    assert convert(artifact(), "oci").digest == artifact().digest
    with pytest.raises(NotSupported):
        convert(artifact(), "docker")


def test_a_subject_is_not_dropped_silently() -> None:
    image = testing.random_image(1)
    signed = partial.from_layers(
        to_json(attrs.evolve(image.manifest, subject=image.descriptor)), image.raw_config, image.layers
    )
    with pytest.raises(NotSupported, match="subject"):
        convert(signed, "docker")
