"""RG-11 to RG-13 of the regression catalogue: documents that lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ociworks import testing
from ociworks.errors import (
    DigestMismatch,
    ImageNotFound,
    LimitExceeded,
    MediaTypeMismatch,
    NotSupported,
    OciworksError,
    SpecError,
)
from ociworks.image import layout, partial
from ociworks.image.memory import MemoryBlobs
from ociworks.spec import Digest, to_json
from ociworks.spec.image import Descriptor, mediatypes
from tests.image.rawserver import RawServer, answer
from tests.image.registries import BLOB, DESCRIPTOR, MISSING, anonymous, document, index_of, push, serve

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ociworks.image.types import Image


# RG-11: Docker-Content-Digest


def test_rg_11_head_and_get_may_not_disagree() -> None:
    """HEAD says A, GET brings B with B's own digest: what was resolved to A is read as A or not at all."""
    a, b = testing.random_image(1, seed=1), testing.random_image(1, seed=2)
    claim = f"Docker-Content-Digest: {a.digest}"
    rules = (
        ("HEAD", answer(b"", f"Content-Type: {mediatypes.OCI_MANIFEST}", claim, length=len(a.raw_manifest))),
        ("GET /v2/app/manifests/", document(b.raw_manifest, mediatypes.OCI_MANIFEST)),
    )
    with serve(*rules) as server, anonymous() as client:
        resolved = client.resolve(f"{server.host}/app:1")
        assert resolved.digest == a.digest
        with pytest.raises(DigestMismatch):
            client.image(f"{server.host}/app@{resolved.digest}")


def test_rg_11_a_head_for_a_digest_answers_with_that_digest() -> None:
    claim = f"Docker-Content-Digest: {Digest.of(b'other')}"
    head = answer(b"", f"Content-Type: {mediatypes.OCI_MANIFEST}", claim, length=10)
    with serve(("HEAD", head)) as server, anonymous() as client, pytest.raises(DigestMismatch):
        client.resolve(f"{server.host}/app@{DESCRIPTOR.digest}")


def test_rg_11_the_header_of_a_redirect_says_nothing() -> None:
    image = testing.random_image(0)
    claim = f"Docker-Content-Digest: {Digest.of(b'other')}"
    config = image.manifest.config
    rules = (
        ("GET /v2/app/manifests/1", answer(b"", "Location: /there", claim, status="307 Temporary Redirect")),
        ("GET /there", document(image.raw_manifest, mediatypes.OCI_MANIFEST)),
        (f"GET /v2/app/blobs/{config.digest}", answer(image.raw_config)),
    )
    with serve(*rules) as server, anonymous() as client:
        assert client.image(f"{server.host}/app:1").digest == image.digest


def test_rg_11_a_tag_is_copied_by_what_was_read(registry: testing.Registry) -> None:
    image = push(registry)
    lie = (("Docker-Content-Digest", str(Digest.of(b"other"))),)
    registry.inject(testing.Fault(path="/manifests/1", headers=lie))
    with anonymous() as client, pytest.raises(DigestMismatch):
        client.tag(f"{registry.host}/app:1", "2")
    with anonymous() as client:
        assert list(client.tags(f"{registry.host}/app")) == ["1"]
        assert client.tag(f"{registry.host}/app:1", "2").digest == image.digest


# RG-12: media types


@pytest.mark.parametrize(
    ("raw", "kind", "expected"),
    [
        (b'{"schemaVersion":2,"manifests":[]}', mediatypes.OCI_MANIFEST, MediaTypeMismatch),
        (b'{"schemaVersion":2,"config":{},"layers":[]}', mediatypes.OCI_INDEX, MediaTypeMismatch),
        (b'{"schemaVersion":2,"config":{},"layers":[]}', "application/json; charset=utf-8", MediaTypeMismatch),
        (b'{"schemaVersion":1,"fsLayers":[]}', mediatypes.DOCKER_SCHEMA1_SIGNED, NotSupported),
        (b'{"schemaVersion":1,"fsLayers":[]}', mediatypes.OCI_MANIFEST, NotSupported),
        (b"<html>please log in</html>", "text/html", SpecError),
        (b"<html>please log in</html>", mediatypes.OCI_MANIFEST, SpecError),
        (b'{"schemaVersion":2,"mediaType":"x/y\\n","manifests":[]}', mediatypes.OCI_INDEX, MediaTypeMismatch),
        (b'{"schemaVersion":2,"manifests":[],"config":{},"layers":[]}', mediatypes.OCI_INDEX, MediaTypeMismatch),
    ],
    ids=["index as manifest", "manifest as index", "nothing says", "schema 1", "schema 1 in disguise", "html",
         "html as manifest", "newline", "both"],
)  # fmt: skip
def test_rg_12_one_decision_for_every_verb(raw: bytes, kind: str, expected: type[Exception]) -> None:
    with RawServer(document(raw, kind)) as server, anonymous() as client:
        where = f"{server.host}/app:1"
        for verb in (client.get, client.image, client.index, lambda name: client.tag(name, "2")):
            with pytest.raises(expected):
                verb(where)


@pytest.mark.parametrize("kind", [mediatypes.OCI_CONFIG, mediatypes.OCI_LAYER_GZIP, "a/b"])
def test_rg_12_a_blob_is_no_child_of_an_index(kind: str) -> None:
    """A descriptor that names a configuration or a layer is passed over, not read as an image."""
    image = testing.random_image(0)
    entry = Descriptor(
        media_type=kind, digest=image.digest, size=len(image.raw_manifest), platform=image.config.platform
    )
    raw = index_of(entry)
    with serve(("GET /v2/app/manifests/1 ", document(raw, mediatypes.OCI_INDEX))) as server:
        with anonymous() as client, pytest.raises(ImageNotFound):
            client.image(f"{server.host}/app:1", str(image.config.platform))
        assert len(server.heads) == 1


def test_rg_12_a_configuration_that_is_no_configuration() -> None:
    """The descriptor says configuration, the blob is a layer: the bytes are right, the shape is not."""
    config = Descriptor.of(BLOB, mediatypes.OCI_CONFIG)
    manifest = b'{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[]}' % (
        mediatypes.OCI_MANIFEST.encode(), to_json(config),
    )  # fmt: skip
    rules = ("GET /v2/app/manifests", document(manifest, mediatypes.OCI_MANIFEST)), ("GET", answer(BLOB))
    with serve(*rules) as server, anonymous() as client, pytest.raises(SpecError):
        client.image(f"{server.host}/app:1")


# RG-13: graphs of indexes


class Graph:
    """Indexes by digest, as a registry would serve them; counts what is asked for."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.asked: list[str] = []

    def add(self, entries: Sequence[Descriptor]) -> Descriptor:
        raw = index_of(*entries)
        described = Descriptor.of(raw, mediatypes.OCI_INDEX)
        self.documents[str(described.digest)] = raw
        return described

    def server(self) -> RawServer:
        def talk(head: bytes) -> list[bytes]:
            name = head.split(b" ")[1].rpartition(b"/")[2].decode()
            self.asked.append(name)
            raw = self.documents.get(name)
            return [MISSING if raw is None else document(raw, mediatypes.OCI_INDEX)]

        return RawServer(talk)


def refused(graph: Graph, top: Descriptor, expected: type[Exception], match: str) -> None:
    with graph.server() as server, anonymous() as client:
        found = client.index(f"{server.host}/app@{top.digest}")
        with pytest.raises(expected, match=match):
            found.image("linux/amd64")
        with pytest.raises(LimitExceeded, match=match):
            list(partial.walk(found))


def test_rg_13_fifty_nested_indexes() -> None:
    graph = Graph()
    top = graph.add([])
    for _ in range(50):
        top = graph.add([top])
    refused(graph, top, LimitExceeded, "max_depth")
    assert len(graph.asked) < 15


def test_rg_13_ten_thousand_children() -> None:
    graph = Graph()
    children = [Descriptor.of(b"%d" % number, mediatypes.OCI_INDEX) for number in range(10_000)]
    top = graph.add(children)
    with graph.server() as server, anonymous() as client:
        found = client.index(f"{server.host}/app@{top.digest}")
        with pytest.raises(LimitExceeded, match="max_visited"):
            found.image("linux/amd64")
    assert len(graph.asked) == 1


def test_rg_13_a_doubling_diamond_is_walked_once() -> None:
    """Each level names the next one twice: 2 to the power of the depth paths, but one document for each level."""
    graph = Graph()
    top = graph.add([])
    for _ in range(3):
        top = graph.add([top, top])
    with graph.server() as server, anonymous() as client:
        found = client.index(f"{server.host}/app@{top.digest}")
        assert len(list(partial.walk(found))) == 4
        with pytest.raises(ImageNotFound):
            found.image("linux/amd64")
    assert len(graph.asked) == 1 + 3 + 3


def test_rg_13_an_index_that_names_itself(tmp_path: Path) -> None:
    """Only unverified content can: in a layout its bytes are read by digest, and then they are not that."""
    with layout.open(tmp_path / "l", create=True) as store:
        digest = Digest.of(b"cycle")
        raw = index_of(Descriptor(media_type=mediatypes.OCI_INDEX, digest=digest, size=200))
        entry = Descriptor(media_type=mediatypes.OCI_INDEX, digest=digest, size=len(raw))
        (tmp_path / "l/blobs/sha256" / digest.encoded).write_bytes(raw)
        (tmp_path / "l/index.json").write_bytes(index_of(entry))
        with pytest.raises(OciworksError):
            list(partial.walk(store.index()))
        assert store.verify() != []


def test_rg_13_the_choice_is_documented_and_the_same_for_all() -> None:
    """No platform, the wrong type, two equals: the first manifest in document order that fits is the one."""
    images = [testing.random_image(1, seed=seed, platform="linux/amd64") for seed in range(4)]
    blobs = MemoryBlobs()
    for image in images:
        blobs.add(image.raw_manifest, mediatypes.OCI_MANIFEST)
        blobs.add(image.raw_config, mediatypes.OCI_CONFIG)

    def entry(image: Image, **changes: object) -> Descriptor:
        fields: dict[str, object] = {
            "media_type": mediatypes.OCI_MANIFEST, "digest": image.digest, "size": len(image.raw_manifest),
            "platform": image.config.platform,
        }  # fmt: skip
        return Descriptor(**(fields | changes))  # type: ignore[arg-type]

    raw = index_of(
        entry(images[0], platform=None),
        entry(images[1], media_type="application/vnd.example.attestation"),
        entry(images[2]),
        entry(images[3]),
    )
    found = partial.index(raw, blobs)
    assert found.image("linux/amd64").digest == images[2].digest
    assert [each.digest for each in partial.walk(found)] == [
        images[0].digest, images[2].digest, images[3].digest, found.digest,
    ]  # fmt: skip
