"""Artifacts: made, pushed, listed as referrers, pulled, stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ociworks import testing
from ociworks.errors import ContentError, NotSupported, SpecError
from ociworks.image import layout, remote
from ociworks.image.artifact import Blob, artifact
from ociworks.spec.image import EMPTY, Descriptor, mediatypes

if TYPE_CHECKING:
    from pathlib import Path

KIND = "application/vnd.example.sbom"


def test_an_artifact_without_anything_holds_the_empty_descriptor() -> None:
    made = artifact(KIND)
    assert made.manifest.config == made.manifest.layers[0] == EMPTY
    assert made.manifest.artifact_type == KIND
    assert made.raw_config == b"{}"
    with made.layers[0].open() as stream:
        assert stream.read() == b"{}"
    with pytest.raises(NotSupported, match="artifact"):
        _ = made.config
    with pytest.raises(NotSupported, match="artifact"):
        _ = made.layers[0].diff_id


def test_files_are_named_and_annotated(tmp_path: Path) -> None:
    path = tmp_path / "app.spdx.json"
    path.write_bytes(b'{"spdxVersion":"SPDX-2.3"}')
    subject = testing.random_image(1).descriptor
    blobs = [Blob.file(path, "application/spdx+json"), Blob.of(b"x", annotations={"a": "b"})]
    made = artifact(KIND, blobs, subject=subject, annotations={"c": "d"}, config=Blob.of(b"{1}", "a/b"))
    first, second = made.manifest.layers
    assert first.annotations == {"org.opencontainers.image.title": "app.spdx.json"}
    assert (second.media_type, second.annotations) == ("application/octet-stream", {"a": "b"})
    assert made.manifest.subject == Descriptor(
        media_type=subject.media_type, digest=subject.digest, size=subject.size
    )
    assert (made.raw_config, made.manifest.annotations) == (b"{1}", {"c": "d"})
    assert artifact(KIND, blobs).digest == artifact(KIND, blobs).digest
    path.write_bytes(b'{"spdxVersion":"SPDX-2.4"}')
    with pytest.raises(ContentError), made.layers[0].open() as stream:
        stream.read()


@pytest.mark.parametrize("kind", ["", "sbom", "a/b; c=d", "a/b\n"])
def test_types_are_media_types(kind: str) -> None:
    with pytest.raises(SpecError, match="media type"):
        artifact(kind)
    with pytest.raises(SpecError, match="media type"):
        Blob.of(b"", kind)


def test_an_image_configuration_makes_an_image() -> None:
    with pytest.raises(SpecError, match="container image"):
        artifact(KIND, config=Blob.of(b"{}", mediatypes.OCI_CONFIG))


def test_artifacts_travel_to_registries_and_layouts(tmp_path: Path) -> None:
    image = testing.random_image(1)
    made = artifact(KIND, [Blob.of(b"content", KIND)], subject=image.descriptor, annotations={"by": "me"})
    with (
        testing.Registry() as registry,
        remote.Client() as client,
        layout.open(tmp_path / "l", create=True) as store,
    ):
        where = f"{registry.host}/app"
        client.push(image, f"{where}:1")
        client.push(made, f"{where}@{made.digest}")
        (listed,) = client.referrers(f"{where}:1", KIND)
        assert (listed.digest, listed.artifact_type, listed.annotations) == (made.digest, KIND, {"by": "me"})
        found = client.referrer(f"{where}:1", listed)
        store.put(found, tag="sbom")
        assert store.verify() == []
        again = store.image("sbom")
        assert again.raw_manifest == made.raw_manifest
        with again.layers[0].open() as stream:
            assert stream.read() == b"content"
