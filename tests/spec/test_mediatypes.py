"""Media types: what the table says, and the grammar."""

from __future__ import annotations

import pytest

from ociworks.errors import SpecError
from ociworks.spec.image import mediatypes


@pytest.mark.parametrize(
    ("media_type", "compression"),
    [
        ("application/vnd.oci.image.layer.v1.tar", "none"),
        ("application/vnd.oci.image.layer.v1.tar+gzip", "gzip"),
        ("application/vnd.oci.image.layer.v1.tar+zstd", "zstd"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "gzip"),
        ("application/vnd.docker.image.rootfs.diff.tar", "none"),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", "gzip"),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "gzip"),
    ],
)
def test_layers(media_type: str, compression: str) -> None:
    """Docker's and OCI's, with their compression."""
    assert mediatypes.is_layer(media_type)
    assert mediatypes.compression_of(media_type) == compression
    assert mediatypes.is_distributable(media_type) == (
        "foreign" not in media_type and "nondist" not in media_type
    )
    assert not mediatypes.is_manifest(media_type)
    assert not mediatypes.is_index(media_type)


@pytest.mark.parametrize(
    "media_type",
    [
        mediatypes.OCI_CONFIG,
        mediatypes.OCI_LAYER + "+xz",
        mediatypes.OCI_LAYER_GZIP + "+zstd",
        mediatypes.OCI_LAYER_GZIP + "; v=1",
        mediatypes.OCI_LAYER_GZIP.upper(),
        mediatypes.OCI_LAYER_GZIP + "\n",
        "",
    ],
)
def test_un_17_types_that_are_no_layers(media_type: str) -> None:
    """Compression is never guessed from a suffix."""
    assert not mediatypes.is_layer(media_type)
    with pytest.raises(SpecError, match="expected the media type of a layer"):
        mediatypes.compression_of(media_type)


def test_manifests_and_indexes() -> None:
    """Each type is exactly one of them."""
    assert mediatypes.is_index(mediatypes.OCI_INDEX)
    assert mediatypes.is_index(mediatypes.DOCKER_MANIFEST_LIST)
    assert mediatypes.is_manifest(mediatypes.OCI_MANIFEST)
    assert mediatypes.is_manifest(mediatypes.DOCKER_MANIFEST)
    assert not mediatypes.is_manifest(mediatypes.DOCKER_SCHEMA1_SIGNED)
    assert mediatypes.is_schema1(mediatypes.DOCKER_SCHEMA1_SIGNED)
    assert mediatypes.is_config(mediatypes.DOCKER_CONFIG)


@pytest.mark.parametrize("text", ["a/b", "application/vnd.example+type", "A/B", "a/" + "b" * 127])
def test_the_grammar(text: str) -> None:
    """RFC 6838 section 4.2."""
    assert mediatypes.is_media_type(text)


@pytest.mark.parametrize(
    "text", ["", "a", "a/", "/b", "a/b/c", "a/b;c", "a b/c", "a/b\n", "+a/b", "a/" + "b" * 128, "ä/b"]
)
def test_sp_07_what_is_no_media_type(text: str) -> None:
    """The whole text must match."""
    assert not mediatypes.is_media_type(text)
