"""Descriptors, manifests, indexes, configurations and layouts as values."""

from __future__ import annotations

import io
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks import spec
from ociworks.errors import (
    DigestMismatch,
    InvalidJSON,
    InvalidSpec,
    SizeMismatch,
    SpecError,
    UnsupportedDigest,
)
from ociworks.spec import Digest, Platform, image
from ociworks.spec.image import mediatypes
from tests.spec import image_documents as documents
from tests.spec.image_documents import encode

KINDS = [
    (image.Manifest, documents.manifest()),
    (image.Index, documents.index()),
    (image.ImageConfiguration, documents.configuration()),
    (image.Descriptor, documents.descriptor()),
    (image.Layout, {"imageLayoutVersion": "1.0.0"}),
]


@pytest.mark.parametrize(("kind", "document"), KINDS)
def test_what_is_read_is_written_back(kind: type[spec.Model], document: dict[str, object]) -> None:
    """Unknown members too, at every level; values are equal, hashable and pickle."""
    raw = encode({**document, "org.example.later": {"deep": [1, {"x": None}]}})
    value = spec.parse(kind, raw)
    again = spec.parse(kind, spec.to_json(value))
    assert again == value
    assert hash(again) == hash(value)
    assert pickle.loads(pickle.dumps(value)) == value
    assert value.extra["org.example.later"] == {"deep": (1, {"x": None})}
    assert spec.validate(value) == []


def test_go_writes_null_for_empty_lists_and_maps() -> None:
    """Null is absent, and empty for a list that is required (config.md, Properties)."""
    manifest = spec.parse(
        image.Manifest, encode(documents.manifest(layers=None, annotations=None, subject=None))
    )
    assert manifest.layers == ()
    assert manifest.annotations == {}
    config = {
        "Env": None,
        "Entrypoint": None,
        "Volumes": None,
        "Labels": None,
        "ExposedPorts": None,
        "User": None,
    }
    rootfs = {"type": "layers", "diff_ids": None}
    value = spec.parse(
        image.ImageConfiguration,
        encode(documents.configuration(config=config, rootfs=rootfs, history=None, created=None)),
    )
    assert value.config == image.Config()
    assert value.rootfs.diff_ids == ()
    assert spec.parse(image.ImageConfiguration, encode(documents.configuration(config=None))).config is None
    assert spec.parse(image.Index, encode(documents.index(manifests=None))).manifests == ()


def test_null_is_not_a_required_value() -> None:
    """A digest that is null is no digest."""
    with pytest.raises(InvalidSpec, match=r"\$\.config\.digest"):
        spec.parse(
            image.Manifest, encode(documents.manifest(config={**documents.descriptor(), "digest": None}))
        )


def test_docker_schema_2_is_read_as_the_same_values() -> None:
    """Only the media types differ; what Docker adds is kept."""
    config = {"mediaType": mediatypes.DOCKER_CONFIG, "size": 6, "digest": documents.CONFIG_DIGEST}
    layers = [documents.descriptor(mediatypes.DOCKER_LAYER_GZIP)]
    manifest = spec.parse(
        image.Manifest,
        encode(documents.manifest(mediaType=mediatypes.DOCKER_MANIFEST, config=config, layers=layers)),
    )
    assert spec.validate(manifest) == []
    platform = {"architecture": "arm", "os": "linux", "variant": "v7", "features": ["sse4"]}
    entry = documents.descriptor(mediatypes.DOCKER_MANIFEST, platform=platform)
    listed = spec.parse(
        image.Index, encode(documents.index(mediaType=mediatypes.DOCKER_MANIFEST_LIST, manifests=[entry]))
    )
    assert spec.validate(listed) == []
    found = listed.manifests[0].platform
    assert found is not None
    assert found.features == ("sse4",)
    docker = {
        "Hostname": "x",
        "OnBuild": None,
        "Image": "sha256:0",
        "Healthcheck": {"Test": ["NONE"], "Retries": 3},
    }
    value = spec.parse(
        image.ImageConfiguration,
        encode(
            documents.configuration(config=docker, container="c", docker_version="20", container_config={})
        ),
    )
    assert spec.validate(value) == []
    assert value.config is not None
    assert value.config.healthcheck == image.Healthcheck(test=("NONE",), retries=3)
    assert spec.parse(image.ImageConfiguration, spec.to_json(value)) == value
    assert b'"OnBuild":null' in spec.to_json(value)


SCHEMA1: dict[str, object] = {
    "schemaVersion": 1,
    "name": "library/busybox",
    "tag": "latest",
    "architecture": "amd64",
    "fsLayers": [{"blobSum": documents.LAYER_DIGEST}],
    "history": [{"v1Compatibility": "{}"}],
}
HYBRIDS: list[tuple[type[spec.Model], dict[str, object], str]] = [
    (image.Manifest, documents.manifest(manifests=[]), "manifests"),
    (image.Manifest, documents.manifest(fsLayers=[]), "fsLayers"),
    (image.Manifest, SCHEMA1, "fsLayers"),
    (image.Manifest, documents.manifest(Layers=[]), "Layers"),
    (image.Manifest, documents.manifest(CONFIG=None), "CONFIG"),
    (image.Manifest, documents.manifest(config={**documents.descriptor(), "Digest": "x"}), "Digest"),
    (image.Index, documents.index(layers=[]), "layers"),
    (image.Index, documents.index(config={}), "config"),
    (image.Index, documents.index(fsLayers=[]), "fsLayers"),
    (image.Index, documents.index(Manifests=[]), "Manifests"),
    (image.Index, documents.index(manifests=[documents.descriptor(Platform={})]), "Platform"),
    (image.ImageConfiguration, documents.configuration(Rootfs={}), "Rootfs"),
    (image.ImageConfiguration, documents.configuration(config={"env": []}), "env"),
    (image.ImageConfiguration, documents.configuration(**{"OS.Version": "1"}), "OS.Version"),
]


@pytest.mark.parametrize(("kind", "document", "member"), HYBRIDS)
def test_sp_01_hybrid_documents(kind: type[spec.Model], document: dict[str, object], member: str) -> None:
    """Members of another kind of document, and case variants of known ones, are refused by name."""
    with pytest.raises(InvalidSpec) as caught:
        spec.parse(kind, encode(document))
    assert any(member in problem.path for problem in caught.value.problems)


@pytest.mark.parametrize(("kind", "document"), KINDS)
@given(data=st.data())
def test_sp_01_duplicate_members(
    kind: type[spec.Model], document: dict[str, object], data: st.DataObject
) -> None:
    """Any member twice, spelled plainly or by an escape, at the top or one level down."""
    name = data.draw(st.sampled_from(sorted(document)))
    escaped = f"\\u{ord(name[0]):04x}{name[1:]}"
    spelled = data.draw(st.sampled_from([name, escaped]))
    raw = encode(document)
    with pytest.raises(InvalidJSON, match="more than once"):
        spec.parse(kind, raw[:-1] + f',"{spelled}":null}}'.encode())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_sp_03_other_encodings(encoding: str) -> None:
    """A correct manifest in another encoding is no manifest."""
    with pytest.raises(InvalidJSON):
        spec.parse(image.Manifest, encode(documents.manifest()).decode().encode(encoding))


COERCIONS: list[tuple[type[spec.Model], dict[str, object], str]] = [
    (image.Manifest, documents.manifest(schemaVersion=True), "$.schemaVersion"),
    (image.Manifest, documents.manifest(schemaVersion=2.0), "$.schemaVersion"),
    (image.Manifest, documents.manifest(schemaVersion="2"), "$.schemaVersion"),
    (image.Manifest, documents.manifest(schemaVersion=3), "$.schemaVersion"),
    (image.Manifest, documents.manifest(config=documents.descriptor(size="12")), "$.config.size"),
    (image.Manifest, documents.manifest(config=documents.descriptor(size=True)), "$.config.size"),
    (image.Manifest, documents.manifest(config=documents.descriptor(size=-1)), "$.config.size"),
    (image.Manifest, documents.manifest(config=documents.descriptor(size=2**63)), "$.config.size"),
    (image.Manifest, documents.manifest(layers={}), "$.layers"),
    (image.Manifest, documents.manifest(annotations={"a": 1}), "$.annotations.a"),
    (image.Manifest, documents.manifest(layers=[documents.descriptor(data="e30")]), "$.layers[0].data"),
    (image.Manifest, documents.manifest(layers=[documents.descriptor(data="e31=")]), "$.layers[0].data"),
    (image.ImageConfiguration, documents.configuration(config={"Entrypoint": "sh"}), "$.config.Entrypoint"),
    (image.ImageConfiguration, documents.configuration(config={"Cmd": [["sh"]]}), "$.config.Cmd[0]"),
    (image.ImageConfiguration, documents.configuration(config={"Cmd": [None]}), "$.config.Cmd[0]"),
    (image.ImageConfiguration, documents.configuration(config={"Volumes": ["/v"]}), "$.config.Volumes"),
    (image.ImageConfiguration, documents.configuration(config={"Volumes": {"/v": 1}}), "$.config.Volumes"),
    (
        image.ImageConfiguration,
        documents.configuration(history=[{"empty_layer": "false"}]),
        "$.history[0].empty_layer",
    ),
    (image.ImageConfiguration, documents.configuration(config={"ArgsEscaped": 0}), "$.config.ArgsEscaped"),
]


@pytest.mark.parametrize(("kind", "document", "path"), COERCIONS)
def test_sp_04_silent_coercion(kind: type[spec.Model], document: dict[str, object], path: str) -> None:
    """Nothing is converted; the error names the member."""
    with pytest.raises(InvalidSpec) as caught:
        spec.parse(kind, encode(document))
    assert [problem.path for problem in caught.value.problems if problem.path.startswith(path)]


@pytest.mark.parametrize(
    "digest",
    ["sha256:../../../x", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "", ":", "sha256:" + "a" * 64 + "\n"],
)
def test_rg_07_digests_in_documents(digest: str) -> None:
    """In descriptors, subjects and diff IDs: refused when the document is read, with the place."""
    bad = documents.descriptor(digest=digest)
    for kind, document, path in (
        (image.Manifest, documents.manifest(layers=[bad]), "$.layers[0].digest"),
        (image.Manifest, documents.manifest(subject=bad), "$.subject.digest"),
        (image.Index, documents.index(manifests=[bad]), "$.manifests[0].digest"),
        (
            image.ImageConfiguration,
            documents.configuration(rootfs={"type": "layers", "diff_ids": [digest]}),
            "$.rootfs.diff_ids[0]",
        ),
    ):
        with pytest.raises(InvalidSpec) as caught:
            spec.parse(kind, encode(document))
        assert [problem.path for problem in caught.value.problems] == [path]


def test_rg_08_mixed_and_unknown_algorithms_in_a_manifest() -> None:
    """sha512 beside sha256 works; an unknown algorithm is kept and never verified."""
    layers = [
        documents.descriptor(digest=str(Digest.of(b"layer", "sha512"))),
        documents.descriptor(digest="md5:0"),
    ]
    manifest = spec.parse(image.Manifest, encode(documents.manifest(layers=layers)))
    manifest.layers[0].verify(b"layer")
    with pytest.raises(UnsupportedDigest):
        manifest.layers[1].verify(b"layer")
    with pytest.raises(UnsupportedDigest):
        manifest.layers[1].reader(io.BytesIO(b"layer"))
    assert spec.parse(image.Manifest, spec.to_json(manifest)) == manifest


def test_descriptors_describe_and_verify() -> None:
    """Size first, then digest; the reader does the same for a stream."""
    content = b"some content"
    value = image.Descriptor.of(content, mediatypes.OCI_LAYER)
    value.verify(content)
    with value.reader(io.BytesIO(content)) as reader:
        assert reader.read() == content
    with pytest.raises(SizeMismatch, match="layer 3: expected 12 bytes"):
        value.verify(content + b"!", "layer 3")
    with pytest.raises(DigestMismatch):
        value.verify(content[::-1])
    image.EMPTY.verify(b"{}")
    assert spec.validate(image.EMPTY) == []
    assert spec.to_json(image.EMPTY).endswith(b'"data":"e30="}')


@given(st.binary(max_size=100))
def test_embedded_content_is_bytes_here_and_base_64_in_json(content: bytes) -> None:
    """Round trip; `validate` finds nothing when it is the content."""
    plain = image.Descriptor.of(content, "text/plain")
    value = image.Descriptor(media_type="text/plain", digest=plain.digest, size=plain.size, data=content)
    assert spec.parse(image.Descriptor, spec.to_json(value)) == value
    assert spec.validate(value) == []


def test_an_index_selects_by_platform() -> None:
    """The best, the first of equals, and never an entry without platform."""
    entries = [
        documents.descriptor(mediatypes.OCI_MANIFEST),
        documents.descriptor(mediatypes.OCI_MANIFEST, platform={"os": "linux", "architecture": "amd64"}),
        documents.descriptor(
            mediatypes.OCI_MANIFEST,
            platform={"os": "linux", "architecture": "arm64", "variant": "v8"},
            size=7,
        ),
    ]
    value = spec.parse(image.Index, encode(documents.index(manifests=entries)))
    assert value.select(Platform.parse("linux/aarch64")) == value.manifests[2]
    assert value.select(Platform.parse("linux/amd64/v3")) == value.manifests[1]
    assert value.select(Platform.parse("linux/s390x")) is None


def test_chain_ids() -> None:
    """The definition of config.md, Layer ChainID."""
    a, b, c = (Digest.of(text) for text in (b"a", b"b", b"c"))
    ab = Digest.of(f"{a} {b}".encode())
    assert image.RootFS(diff_ids=(a, b, c)).chain_ids() == (a, ab, Digest.of(f"{ab} {c}".encode()))
    assert image.RootFS(diff_ids=()).chain_ids() == ()


def test_the_platform_of_a_configuration() -> None:
    """All of its parts."""
    members = {"os.version": "10.0.1", "os.features": ["win32k"], "variant": "v2", "os": "windows"}
    value = spec.parse(image.ImageConfiguration, encode(documents.configuration(**members)))
    assert value.platform == Platform(
        os="windows", architecture="amd64", os_version="10.0.1", os_features=("win32k",), variant="v2"
    )


digests = st.builds(Digest.of, st.binary(max_size=4), st.sampled_from(["sha256", "sha512", "sha384"]))
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
maps = st.dictionaries(words, words, max_size=3).map(spec.FrozenDict)
platforms = st.builds(
    Platform, os=words, architecture=words, variant=st.none() | words, os_version=st.none() | words
)
descriptors = st.builds(
    image.Descriptor,
    media_type=words,
    digest=digests,
    size=st.integers(0, 2**63 - 1),
    urls=st.lists(words, max_size=2).map(tuple),
    data=st.none() | st.binary(max_size=9),
    annotations=maps,
    platform=st.none() | platforms,
)
lists = st.lists(descriptors, max_size=3).map(tuple)
values = st.one_of(
    st.builds(
        image.Manifest,
        media_type=st.none() | words,
        config=descriptors,
        layers=lists,
        subject=st.none() | descriptors,
    ),
    st.builds(image.Index, manifests=lists, artifact_type=st.none() | words, annotations=maps),
    st.builds(
        image.ImageConfiguration,
        architecture=words,
        os=words,
        rootfs=st.builds(image.RootFS, diff_ids=st.lists(digests, max_size=3).map(tuple)),
        config=st.none() | st.builds(image.Config, env=st.lists(words, max_size=3).map(tuple), labels=maps),
        history=st.lists(st.builds(image.History, empty_layer=st.none() | st.booleans()), max_size=2).map(
            tuple
        ),
    ),
)


@given(values)
def test_any_value_reads_back_as_itself(value: spec.Model) -> None:
    """And is judged without an exception, whatever its texts are."""
    assert spec.parse(type(value), spec.to_json(value)) == value
    spec.validate(value)


def test_values_that_were_built_wrong_are_found_by_validate() -> None:
    """Construction does not check; `validate` does, and writing a wrong size does not go unnoticed."""
    value = image.Descriptor(media_type="text/plain", digest=Digest.of(b""), size=-1)
    assert [problem.path for problem in spec.validate(value)] == ["$.size"]
    with pytest.raises(SpecError):
        value.reader(io.BytesIO(b""))
