"""Tags, referrers, deletes, ranges, warnings: the rest of the distribution specification as a client sees it."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

import pytest

from ociworks import testing
from ociworks.errors import (
    ContentError,
    InvalidReference,
    MediaTypeMismatch,
    NotFound,
    NotSupported,
    RegistryProtocolError,
    RegistryResponseError,
)
from ociworks.image import partial
from ociworks.image.artifact import Blob, artifact
from ociworks.image.memory import MemoryBlobs
from ociworks.image.remote import ClientOptions, Notice
from ociworks.image.remote._ranges import BlobReader
from ociworks.spec import Digest, to_json
from ociworks.spec.image import mediatypes
from tests.image.rawserver import RawServer, answer
from tests.image.registries import BLOB, DESCRIPTOR, Sleeper, anonymous, paths, push, serve

if TYPE_CHECKING:
    from ociworks.image.types import Image

KIND = "application/vnd.example.sbom"


# Tags


@pytest.mark.parametrize("page_size", [None, 1, 2, 100])
def test_tags_come_in_pages(registry: testing.Registry, page_size: int | None) -> None:
    image = push(registry)
    with anonymous() as client:
        for tag in ("a", "b", "c"):
            client.push(image, f"{registry.host}/app:{tag}")
        assert list(client.tags(f"{registry.host}/app", page_size=page_size)) == ["1", "a", "b", "c"]
        with pytest.raises(NotFound):
            list(client.tags(f"{registry.host}/other"))
        with pytest.raises(InvalidReference):
            client.tags("Not A Repository")


def test_pages_are_asked_for_when_they_are_needed(registry: testing.Registry) -> None:
    image = push(registry)
    with anonymous() as client:
        client.push(image, f"{registry.host}/app:a")
        assert next(client.tags(f"{registry.host}/app", page_size=1)) == "1"
    assert len([path for path in paths(registry) if "tags/list" in path]) == 1


def test_a_repository_without_tags_has_none() -> None:
    with serve(("GET", answer(b'{"name":"app","tags":null}'))) as server, anonymous() as client:
        assert list(client.tags(f"{server.host}/app")) == []


def test_another_tag_moves_nothing_else(registry: testing.Registry) -> None:
    image = push(registry)
    before = len(registry.requests)
    with anonymous() as client:
        assert str(client.tag(f"{registry.host}/app:1", "2")) == f"{registry.host}/app:2@{image.digest}"
        assert [request.method for request in registry.requests[before:]] == ["GET", "PUT"]
        assert client.resolve(f"{registry.host}/app:2").digest == image.digest
        with pytest.raises(InvalidReference):
            client.tag(f"{registry.host}/app:1", "../x")


def test_existence_is_one_question(registry: testing.Registry) -> None:
    image = push(registry)
    before = len(registry.requests)
    with anonymous() as client:
        assert client.exists(f"{registry.host}/app:1")
        assert client.exists(f"{registry.host}/app@{image.digest}")
        assert not client.exists(f"{registry.host}/app:2")
        assert client.has_blob(f"{registry.host}/app", image.manifest.config)
        assert not client.has_blob(f"{registry.host}/app", DESCRIPTOR)
    assert [request.method for request in registry.requests[before:]] == ["HEAD"] * 5


# Deletes


def test_deletes(registry: testing.Registry) -> None:
    image = push(registry)
    where = f"{registry.host}/app"
    with anonymous() as client:
        client.tag(f"{where}:1", "2")
        client.delete(f"{where}:2")
        assert client.exists(f"{where}:1")
        assert not client.exists(f"{where}:2")
        client.delete(f"{where}:1@{image.digest}")
        assert not client.exists(f"{where}:1")
        client.delete_blob(where, image.layers[0].digest)
        assert not client.has_blob(where, image.layers[0].descriptor)
        with pytest.raises(NotFound):
            client.delete(f"{where}:1")


def test_a_registry_may_refuse_to_delete(registry: testing.Registry) -> None:
    push(registry)
    registry.inject(testing.Fault(path="/manifests/", method="DELETE", status=405))
    with anonymous() as client, pytest.raises(RegistryResponseError, match="status 405"):
        client.delete(f"{registry.host}/app:1")


# Referrers


def attached(image: Image, name: str, kind: str = KIND) -> Image:
    return artifact(kind, [Blob.of(name.encode())], subject=image.descriptor, annotations={"name": name})


@pytest.fixture(params=["api", "tag"])
def listing(registry: testing.Registry, request: pytest.FixtureRequest) -> testing.Registry:
    """A registry with the referrers API, and one that answers as if it had never heard of it."""
    if request.param == "tag":
        registry.inject(testing.Fault(path="/referrers/", status=404, times=-1))
        for_others = (("OCI-Subject", str(Digest.of(b"something else"))),)
        registry.inject(testing.Fault(path="/manifests/", method="PUT", headers=for_others, times=-1))
    return registry


def test_referrers(listing: testing.Registry) -> None:
    image = push(listing)
    where = f"{listing.host}/app"
    made = [attached(image, name, kind) for name, kind in [("one", KIND), ("two", KIND), ("three", "a/b")]]
    with anonymous() as client:
        assert client.referrers(f"{where}:1") == ()
        for each in [*made, made[0]]:
            client.push(each, f"{where}@{each.digest}")
        listed = client.referrers(f"{where}:1")
        assert [entry.digest for entry in listed] == sorted(each.digest for each in made)
        assert {entry.annotations["name"] for entry in listed} == {"one", "two", "three"}
        found = client.referrers(f"{where}@{image.digest}", KIND)
        assert {entry.digest for entry in found} == {made[0].digest, made[1].digest}
        assert {client.referrer(f"{where}:1", entry).digest for entry in found} == {
            entry.digest for entry in found
        }
        client.delete(f"{where}@{made[1].digest}")
        assert {entry.digest for entry in client.referrers(f"{where}:1")} == {made[0].digest, made[2].digest}


def test_the_fallback_tag_is_kept_as_the_specification_says(registry: testing.Registry) -> None:
    registry.inject(testing.Fault(path="/referrers/", status=404, times=-1))
    registry.inject(
        testing.Fault(
            path="/manifests/", method="PUT", headers=(("OCI-Subject", f"sha256:{'0' * 64}"),), times=-1
        )
    )
    image = push(registry)
    made = attached(image, "one")
    with anonymous() as client:
        client.push(made, f"{registry.host}/app@{made.digest}")
        tag = f"sha256-{image.digest.encoded}"
        assert tag in list(client.tags(f"{registry.host}/app"))
        index = client.index(f"{registry.host}/app:{tag}").index
    (entry,) = index.manifests
    assert (entry.media_type, entry.digest, entry.size) == (
        mediatypes.OCI_MANIFEST, made.digest, made.descriptor.size,
    )  # fmt: skip
    assert (entry.artifact_type, entry.annotations) == (KIND, {"name": "one"})
    assert index.media_type == mediatypes.OCI_INDEX


def test_an_image_refers_by_the_type_of_its_configuration(registry: testing.Registry) -> None:
    image = push(registry)
    other = testing.random_image(1, seed=5)
    raw = other.raw_manifest[:-1] + b',"subject":%s}' % to_json(image.descriptor)

    source = partial.source_of(other.layers[0]) or MemoryBlobs()
    refers = partial.image(raw, other.raw_config, source)
    with anonymous() as client:
        client.push(refers, f"{registry.host}/app@{refers.digest}")
        (entry,) = client.referrers(f"{registry.host}/app:1")
    assert entry.artifact_type == mediatypes.OCI_CONFIG


def test_something_else_under_the_tag_is_not_overwritten(registry: testing.Registry) -> None:
    image = push(registry)
    registry.inject(
        testing.Fault(
            path="/manifests/", method="PUT", headers=(("OCI-Subject", f"sha256:{'0' * 64}"),), times=-1
        )
    )
    made = attached(image, "one")
    with anonymous() as client:
        client.tag(f"{registry.host}/app:1", f"sha256-{image.digest.encoded}")
        with pytest.raises(MediaTypeMismatch, match="expected an image index"):
            client.push(made, f"{registry.host}/app@{made.digest}")
        assert client.exists(f"{registry.host}/app@{made.digest}")


# Parts of blobs


def test_parts_of_a_blob_are_fetched_when_they_are_read(registry: testing.Registry) -> None:
    image = push(registry, layers=1, size=3_000_000)
    (layer,) = image.layers
    with layer.open() as stream:
        content = stream.read()
    with anonymous() as client:
        before = len(registry.requests)
        with client.random_access(f"{registry.host}/app", layer.descriptor) as file:
            assert file.seekable()
            file.seek(-100, io.SEEK_END)
            assert file.read() == content[-100:]
            file.seek(1_000_000)
            assert file.read(10) == content[1_000_000:1_000_010]
            assert len(registry.requests) == before + 2
            file.seek(0)
            assert file.read() == content
            assert file.read() == b""
            with pytest.raises(ValueError, match="in the blob"):
                file.seek(-1)


def test_a_registry_without_ranges_is_said_to_be_one() -> None:
    with (
        serve(("GET", answer(BLOB))) as server,
        anonymous() as client,
        client.random_access(f"{server.host}/app", DESCRIPTOR) as file,
        pytest.raises(NotSupported, match="as a whole"),
    ):
        file.read(1)


@pytest.mark.parametrize(
    ("body", "content_range"),
    [(b"x" * 11, "bytes 0-9/65536"), (b"x" * 10, "bytes 1-10/65536"), (b"x" * 10, "bytes 0-9/*"),
     (b"x" * 9, "bytes 0-9/65536")],
)  # fmt: skip
def test_rg_10_a_part_is_the_part_that_was_asked_for(body: bytes, content_range: str) -> None:
    small = DESCRIPTOR
    part = answer(body, f"Content-Range: {content_range}", status="206 Partial Content")

    with serve(("GET", part)) as server, anonymous() as client:
        reader = client.random_access(f"{server.host}/app", small)
        assert isinstance(reader, io.BufferedReader)
        raw = reader.raw
        assert isinstance(raw, BlobReader)
        with pytest.raises((RegistryProtocolError, ContentError)):
            raw.read(10)


# Warnings


def test_warnings_are_passed_on_once(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Notice] = []
    said = [
        'Warning: 299 - "this \\"image\\" is deprecated"', 'Warning: 299 - "second"', 'Warning: 199 - "other"',
        "Warning: 299 - nonsense", f'Warning: 299 - "{"x" * 5000}"', 'Warning: 299 - "after too much"',
    ]  # fmt: skip
    gone = answer(b"", *said, status="404 Not Found")
    options = ClientOptions(on_warning=heard.append, sleep=Sleeper())
    with RawServer(gone) as server, anonymous(options) as client, caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert not client.exists(f"{server.host}/app:1")
        assert heard == [Notice(server.host, 'this "image" is deprecated'), Notice(server.host, "second")]
    assert len(caplog.records) == 2


def test_warnings_cannot_write_to_a_terminal(caplog: pytest.LogCaptureFixture) -> None:
    gone = answer(b"", 'Warning: 299 - "\u00e9 [31m red"', status="404 Not Found")
    with RawServer(gone) as server, anonymous() as client, caplog.at_level(logging.WARNING):
        client.exists(f"{server.host}/app:1")
    assert all(character.isprintable() for record in caplog.records for character in record.getMessage())
