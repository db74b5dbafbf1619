"""The one decision what a manifest's bytes are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.errors import (
    ContentError,
    DigestMismatch,
    InvalidJSON,
    MediaTypeMismatch,
    NotSupported,
    SizeMismatch,
    SpecError,
)
from ociworks.spec import image
from ociworks.spec.image import mediatypes, read_manifest
from tests.spec import image_documents as documents
from tests.spec.image_documents import encode

MANIFEST, INDEX = documents.manifest(), documents.index()
UNTYPED = {name: member for name, member in MANIFEST.items() if name != "mediaType"}


def expect(media_type: str, raw: bytes) -> image.Descriptor:
    """The descriptor that led to ``raw``."""
    return image.Descriptor.of(raw, media_type)


def test_sources_that_agree() -> None:
    """Any one is enough; parameters and generic headers do not matter."""
    raw, untyped = encode(MANIFEST), encode(UNTYPED)
    for found in (
        read_manifest(raw),
        read_manifest(raw, content_type=mediatypes.OCI_MANIFEST),
        read_manifest(raw, content_type=f"{mediatypes.OCI_MANIFEST} ; charset=utf-8"),
        read_manifest(raw, content_type="application/json; charset=utf-8"),
        read_manifest(
            raw, content_type="application/octet-stream", descriptor=expect(mediatypes.OCI_MANIFEST, raw)
        ),
        read_manifest(untyped, content_type=mediatypes.OCI_MANIFEST),
        read_manifest(untyped, descriptor=expect(mediatypes.OCI_MANIFEST, untyped)),
    ):
        assert found.media_type == mediatypes.OCI_MANIFEST
        assert isinstance(found.value, image.Manifest)
        assert found.descriptor == expect(mediatypes.OCI_MANIFEST, found.raw)
    listed = read_manifest(encode(INDEX), content_type=mediatypes.OCI_INDEX)
    assert isinstance(listed.value, image.Index)


DISAGREEMENTS: list[tuple[dict[str, object], str | None, str | None]] = [
    (MANIFEST, mediatypes.OCI_INDEX, None),
    (INDEX, mediatypes.OCI_MANIFEST, None),
    (MANIFEST, None, mediatypes.OCI_INDEX),
    (MANIFEST, None, mediatypes.OCI_CONFIG),
    (MANIFEST, mediatypes.DOCKER_MANIFEST, None),
    (MANIFEST, mediatypes.OCI_MANIFEST, mediatypes.OCI_LAYER),
    (UNTYPED, mediatypes.OCI_INDEX, None),
    (UNTYPED, mediatypes.OCI_INDEX, mediatypes.OCI_INDEX),
    (UNTYPED, mediatypes.OCI_MANIFEST, mediatypes.DOCKER_MANIFEST),
    (UNTYPED, None, None),
    (UNTYPED, "application/json", None),
    (UNTYPED, "text/html; charset=utf-8", None),
    (UNTYPED, None, "text/html"),
    (MANIFEST, mediatypes.OCI_MANIFEST.upper(), None),
    (documents.manifest(mediaType=mediatypes.OCI_MANIFEST.upper()), None, None),
    (documents.manifest(mediaType=mediatypes.OCI_MANIFEST + "\n"), None, None),
    (documents.manifest(mediaType=mediatypes.OCI_CONFIG), None, None),
    (documents.manifest(mediaType=2), mediatypes.OCI_MANIFEST, None),
    (documents.manifest(mediaType=mediatypes.OCI_INDEX), None, None),
    (documents.manifest(manifests=[]), None, None),
    (documents.index(layers=[], config={}), None, None),
    (documents.index(mediaType=mediatypes.OCI_MANIFEST), None, None),
]


@pytest.mark.parametrize(("document", "header", "expected"), DISAGREEMENTS)
def test_rg_12_sources_that_disagree(
    document: dict[str, object], header: str | None, expected: str | None
) -> None:
    """Header, descriptor and member, or shape: an error that names them, whatever digest and size are."""
    raw = encode(document)
    wanted = None if expected is None else expect(expected, raw)
    with pytest.raises(MediaTypeMismatch, match="manifest: "):
        read_manifest(raw, content_type=header, descriptor=wanted)


@pytest.mark.parametrize(
    "header", ["", "json", "application/json\n", "a/b, c/d", f"{mediatypes.OCI_MANIFEST}\nX: y", "é/x"]
)
def test_rg_12_headers_that_are_no_media_type(header: str) -> None:
    """Not guessed at."""
    with pytest.raises(SpecError, match="Content-Type: expected a media type"):
        read_manifest(encode(MANIFEST), content_type=header)


def test_rg_12_what_is_not_json() -> None:
    """A login page with status 200 is refused whatever its header says; so is JSON that is no object."""
    with pytest.raises(InvalidJSON):
        read_manifest(b"<html>log in</html>", content_type=mediatypes.OCI_MANIFEST)
    with pytest.raises(MediaTypeMismatch, match="expected a JSON object"):
        read_manifest(b"[]", content_type=mediatypes.OCI_MANIFEST)


@pytest.mark.parametrize(
    ("document", "header"),
    [
        ({"schemaVersion": 1, "fsLayers": [], "history": []}, None),
        ({"schemaVersion": 1, "fsLayers": [], "history": []}, mediatypes.DOCKER_SCHEMA1_SIGNED),
        (MANIFEST, mediatypes.DOCKER_SCHEMA1),
        (documents.manifest(fsLayers=[]), mediatypes.OCI_MANIFEST),
        (documents.index(fsLayers=[]), None),
    ],
)
def test_rg_12_schema_1(document: dict[str, object], header: str | None) -> None:
    """Refused by type and by shape, with what to do."""
    with pytest.raises(NotSupported, match="schema 1 .* push the image again"):
        read_manifest(encode(document), content_type=header)


def test_the_descriptor_is_verified_before_anything_is_decoded() -> None:
    """Size, then digest; bytes that are not JSON do not matter then."""
    wanted = expect(mediatypes.OCI_MANIFEST, b"x")
    with pytest.raises(SizeMismatch):
        read_manifest(b"<html>", descriptor=wanted)
    with pytest.raises(DigestMismatch):
        read_manifest(b"<", descriptor=wanted)


def test_rg_06_oversized_manifests() -> None:
    """The bound holds before decoding."""
    with pytest.raises(InvalidJSON, match="more than the 100 allowed"):
        read_manifest(encode(MANIFEST), max_size=100)


TYPES = [
    mediatypes.OCI_MANIFEST,
    mediatypes.OCI_INDEX,
    mediatypes.DOCKER_MANIFEST,
    mediatypes.DOCKER_MANIFEST_LIST,
]
members = st.sets(st.sampled_from(["config", "layers", "manifests", "fsLayers"]))


@given(members, *[st.none() | st.sampled_from(TYPES)] * 3)
def test_rg_12_every_combination(
    shape: set[str], header: str | None, expected: str | None, written: str | None
) -> None:
    """A document is accepted exactly when one type is said and the shape is that of no other type."""
    document: dict[str, object] = {member: [] for member in shape}
    if written is not None:
        document["mediaType"] = written
    said = {header, expected, written} - {None}
    index_types = {mediatypes.OCI_INDEX, mediatypes.DOCKER_MANIFEST_LIST}
    right = {"manifests"} if said <= index_types else {"config", "layers"}
    try:
        found = image.media_type_of(document, content_type=header, expected=expected)
    except (ContentError, NotSupported):
        assert len(said) != 1 or shape != right
    else:
        assert said == {found}
        assert shape == right
