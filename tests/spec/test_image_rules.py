"""The rules of the image specification's prose, one broken at a time."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks import spec
from ociworks.errors import Problem
from ociworks.spec import Digest, image
from ociworks.spec.image import mediatypes
from ociworks.spec.validate.image import pair
from tests.spec import image_documents as documents
from tests.spec.image_documents import encode


def problems(kind: type[spec.Model], document: object) -> list[Problem]:
    """What `validate` says of a document that can be read."""
    return spec.validate(spec.parse(kind, encode(document)))


def only(kind: type[spec.Model], document: object) -> Problem:
    """The one problem, which cites its section."""
    (problem,) = problems(kind, document)
    assert problem.section.startswith("image-spec ")
    return problem


@pytest.mark.parametrize(
    ("members", "path", "message"),
    [
        ({"mediaType": "layer"}, "$.mediaType", "expected a media type"),
        ({"mediaType": "a/b; c=d"}, "$.mediaType", "expected a media type"),
        ({"artifactType": ""}, "$.artifactType", "expected a media type"),
        ({"urls": ["https://example.com/x", "/x"]}, "$.urls[1]", "expected a URI"),
        ({"urls": ["http://a b"]}, "$.urls[0]", "expected a URI"),
        ({"urls": ["http://a/%zz"]}, "$.urls[0]", "expected a URI"),
        ({"urls": ["http://ä/"]}, "$.urls[0]", "expected a URI"),
        ({"annotations": {"": "x"}}, "$.annotations", "not empty"),
        ({"annotations": {image.annotations.CREATED: "yesterday"}}, "$.annotations[", "RFC 3339"),
        ({"annotations": {image.annotations.BASE_DIGEST: "sha256:1"}}, "$.annotations[", "64 lower-case"),
        ({"data": "e30="}, "$.data", "expected 5 bytes, got 2"),
        ({"data": "bGF5ZXI=", "digest": "md5:0"}, "$.data", "unsupported digest algorithm"),
        ({"data": "TEFZRVI="}, "$.data", "expected sha256:"),
        ({"digest": "blake3:00"}, "$.digest", "64 lower-case hex"),
        ({"platform": {"os": "", "architecture": "amd64"}}, "$.platform.os", "expected a name"),
    ],
)
def test_descriptors(members: dict[str, object], path: str, message: str) -> None:
    """Types, addresses, embedded content, annotations (descriptor.md, annotations.md)."""
    problem = only(image.Descriptor, {**documents.descriptor(), **members})
    assert problem.path.startswith(path)
    assert message in problem.message


def test_what_descriptors_may_have() -> None:
    """Unknown types and algorithms, any URI, empty annotation values, embedded content that fits."""
    scratch = {image.annotations.BASE_DIGEST: ""}  # as buildah writes it for images from nothing
    assert problems(image.Descriptor, {**documents.descriptor(), "annotations": scratch}) == []
    urls = ["https://u@[::1]:5/x?q=%20#f", "urn:uuid:1", "ftp://x"]
    annotations = {"a": "", image.annotations.CREATED: "2024-01-01T00:00:00+02:00"}
    good = documents.descriptor("application/x.y+z", urls=urls, annotations=annotations, data="bGF5ZXI=")
    assert problems(image.Descriptor, good) == []
    assert problems(image.Descriptor, documents.descriptor(digest="multihash+base58:Qm", size=0)) == []


EMPTY = {"mediaType": mediatypes.OCI_EMPTY, "digest": str(image.EMPTY.digest), "size": 2}


@pytest.mark.parametrize(
    ("members", "path", "message"),
    [
        ({"mediaType": mediatypes.OCI_INDEX}, "$.mediaType", "media type of this document"),
        ({"mediaType": ""}, "$.mediaType", "media type of this document"),
        ({"config": EMPTY}, "$.artifactType", "artifactType is required"),
        ({"config": EMPTY, "artifactType": "x"}, "$.artifactType", "expected a media type"),
        ({"layers": [documents.descriptor(mediatypes.OCI_INDEX)]}, "$.layers[0].mediaType", "type of a blob"),
        (
            {"layers": [documents.descriptor(mediatypes.DOCKER_MANIFEST)]},
            "$.layers[0].mediaType",
            "type of a blob",
        ),
        ({"config": documents.descriptor(mediatypes.OCI_MANIFEST)}, "$.config.mediaType", "type of a blob"),
        ({"subject": documents.descriptor("x")}, "$.subject.mediaType", "expected a media type"),
        ({"annotations": {"": ""}}, "$.annotations", "not empty"),
    ],
)
def test_manifests(members: dict[str, object], path: str, message: str) -> None:
    """What manifest.md demands beyond shape; descriptors inside are judged too."""
    problem = only(image.Manifest, documents.manifest(**members))
    assert problem.path == path
    assert message in problem.message


def test_what_manifests_may_be() -> None:
    """Artifacts of unknown types, with unknown layers, without layers, with a subject."""
    artifact = documents.manifest(
        config=EMPTY,
        artifactType="application/vnd.example+type",
        layers=[documents.descriptor("application/vnd.example.data.v1.tar+gzip"), EMPTY],
        subject=documents.descriptor(mediatypes.OCI_MANIFEST),
    )
    assert problems(image.Manifest, artifact) == []
    assert problems(image.Manifest, documents.manifest(layers=[])) == []
    untyped = documents.manifest()
    del untyped["mediaType"]
    assert problems(image.Manifest, untyped) == []


@pytest.mark.parametrize(
    ("members", "path", "message"),
    [
        ({"mediaType": mediatypes.OCI_MANIFEST}, "$.mediaType", "media type of this document"),
        ({"artifactType": "x"}, "$.artifactType", "expected a media type"),
        ({"manifests": [documents.descriptor()]}, "$.manifests[0].mediaType", "type of a manifest"),
        (
            {"manifests": [documents.descriptor(mediatypes.DOCKER_CONFIG)]},
            "$.manifests[0].mediaType",
            "of a manifest",
        ),
        ({"subject": documents.descriptor(urls=["x"])}, "$.subject.urls[0]", "expected a URI"),
    ],
)
def test_indexes(members: dict[str, object], path: str, message: str) -> None:
    """What image-index.md demands beyond shape."""
    problem = only(image.Index, documents.index(**members))
    assert problem.path == path
    assert message in problem.message


def test_what_indexes_may_be() -> None:
    """Empty, nested, with entries of unknown types."""
    assert problems(image.Index, documents.index(manifests=[])) == []
    entries = [documents.descriptor(mediatypes.OCI_INDEX), documents.descriptor("application/xml")]
    assert problems(image.Index, documents.index(manifests=entries)) == []


def test_layout_versions() -> None:
    """There is one."""
    assert only(image.Layout, {"imageLayoutVersion": "2.0.0"}).path == "$.imageLayoutVersion"


@pytest.mark.parametrize(
    ("members", "path", "message"),
    [
        ({"created": "2023-02-29T00:00:00Z"}, "$.created", "RFC 3339"),
        ({"os": ""}, "$.os", "expected a name"),
        ({"architecture": ""}, "$.architecture", "expected a name"),
        (
            {"rootfs": {"type": "tar", "diff_ids": [documents.LAYER_DIGEST]}},
            "$.rootfs.type",
            "expected layers",
        ),
        (
            {"rootfs": {"type": "layers", "diff_ids": []}},
            "$.history",
            "1 entries made a layer, but there are 0",
        ),
        ({"history": [{}, {}]}, "$.history", "2 entries made a layer, but there are 1"),
        ({"history": [{"created": "now"}]}, "$.history[0].created", "RFC 3339"),
    ],
)
def test_configurations(members: dict[str, object], path: str, message: str) -> None:
    """What config.md demands of the document as a whole."""
    problem = only(image.ImageConfiguration, documents.configuration(**members))
    assert problem.path == path
    assert message in problem.message


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"Env": ["A=b", "NAME"]}, "$.config.Env[1]"),
        ({"Env": ["=b"]}, "$.config.Env[0]"),
        ({"User": "1:2:3"}, "$.config.User"),
        ({"User": "1000:"}, "$.config.User"),
        ({"User": ":0"}, "$.config.User"),
        ({"User": "4294967296"}, "$.config.User"),
        ({"User": "4294967295"}, "$.config.User"),
        ({"User": "0:4294967296"}, "$.config.User"),
        ({"User": "9" * 40}, "$.config.User"),
        ({"User": "-1"}, "$.config.User"),
        ({"User": "１"}, "$.config.User"),
        ({"User": "a\nb"}, "$.config.User"),
        ({"ExposedPorts": {"80/http": {}}}, "$.config.ExposedPorts"),
        ({"ExposedPorts": {"0": {}}}, "$.config.ExposedPorts"),
        ({"ExposedPorts": {"65536/tcp": {}}}, "$.config.ExposedPorts"),
        ({"ExposedPorts": {"80/": {}}}, "$.config.ExposedPorts"),
        ({"ExposedPorts": {" 80": {}}}, "$.config.ExposedPorts"),
        ({"Entrypoint": [""]}, "$.config.Entrypoint[0]"),
        ({"Volumes": {"v": {}}}, "$.config.Volumes"),
        ({"WorkingDir": "../.."}, "$.config.WorkingDir"),
        ({"Labels": {"": ""}}, "$.config.Labels"),
        ({"StopSignal": "0"}, "$.config.StopSignal"),
        ({"StopSignal": "KILL\n"}, "$.config.StopSignal"),
        ({"StopSignal": "SIGNOTHING"}, "$.config.StopSignal"),
    ],
)
def test_sp_11_hostile_image_configuration_values(config: dict[str, object], path: str) -> None:
    """Each is one problem at its member."""
    assert only(image.ImageConfiguration, documents.configuration(config=config)).path == path


def test_what_configurations_may_have() -> None:
    """Everything that builders write: empty strings for unset, users and ports in all forms, no history."""
    for user in ("", "0", "root", "1000:1000", "app:www-data", "4294967294", "_x", "a.b", "svc$"):
        config = {
            "User": user,
            "WorkingDir": "",
            "StopSignal": "",
            "Env": ["A=", "B==\n"],
            "Labels": {"a": ""},
        }
        assert problems(image.ImageConfiguration, documents.configuration(config=config)) == []
    ports: dict[str, object] = {
        "ExposedPorts": {"80": {}, "80/tcp": {}, "53/udp": {}, "9/sctp": {}},
        "StopSignal": "SIGRTMIN+3",
    }
    assert problems(image.ImageConfiguration, documents.configuration(config=ports, history=[])) == []
    windows = {"User": "ContainerUser\\x", "WorkingDir": "C:\\app", "Volumes": {"C:\\data": {}}}
    assert problems(image.ImageConfiguration, documents.configuration(os="windows", config=windows)) == []


@given(
    st.datetimes(), st.sampled_from(["Z", "+02:00", "-23:59", "z"]), st.sampled_from(["", ".5", ".123456789"])
)
def test_every_time_of_rfc_3339_is_taken(time: object, zone: str, fraction: str) -> None:
    """With any fraction and zone."""
    text = f"{time:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + fraction + zone
    assert problems(image.History, {"created": text}) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024-01-01",
        "2024-01-01 00:00:00Z",
        "2024-01-01T00:00:00",
        "2024-13-01T00:00:00Z",
        "2024-01-01T24:00:00Z",
    ]
    + ["2024-01-01T00:00:00Z\n", "２024-01-01T00:00:00Z", "2024-01-01T00:00:00.Z", "2024-01-01T00:00:61Z"],
)
def test_what_is_no_time(text: str) -> None:
    """Missing parts, wrong ranges, trailing text."""
    assert only(image.History, {"created": text}).path == "$.created"


def test_a_manifest_and_its_configuration_agree() -> None:
    """As many layers as diff IDs; an uncompressed layer is what its diff ID names."""
    configuration = spec.parse(image.ImageConfiguration, encode(documents.configuration()))
    plain = documents.descriptor(mediatypes.OCI_LAYER)

    def judge(*layers: dict[str, object]) -> list[str]:
        manifest = spec.parse(image.Manifest, encode(documents.manifest(layers=list(layers))))
        return [problem.path for problem in pair(manifest, configuration)]

    assert judge(plain) == []
    assert judge({**plain, "digest": str(Digest.of(b"other"))}) == ["$.layers[0].digest"]
    assert judge(documents.descriptor(digest=str(Digest.of(b"gzip")))) == []
    assert judge() == judge(plain, plain) == ["$.layers"]


def test_all_problems_at_once_in_document_order() -> None:
    """Not only the first."""
    document = documents.manifest(
        config=documents.descriptor(urls=["x"], annotations={"": ""}),
        layers=[documents.descriptor(data="e30=")],
    )
    assert [problem.path for problem in problems(image.Manifest, document)] == [
        "$.config.urls[0]",
        "$.config.annotations",
        "$.layers[0].data",
    ]


@pytest.mark.parametrize("first", ["ociworks.spec.validate.image", "ociworks.spec.validate", "ociworks.spec"])
def test_validate_can_be_called_whatever_was_imported_first(first: str) -> None:
    """The package of the rules has the name of the function."""
    script = f"import {first}\nfrom ociworks import spec\nassert spec.validate(spec.image.EMPTY) == []"
    subprocess.run([sys.executable, "-c", script], check=True)
