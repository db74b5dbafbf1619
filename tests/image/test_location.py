"""Where an image is, as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.errors import InvalidLocation, InvalidReference, SpecError
from ociworks.image import Location, Reference
from ociworks.spec import Digest

DIGEST = "sha256:" + "a" * 64


def reference(text: str) -> Reference:
    return Reference.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("alpine", Location(transport="docker", reference=reference("alpine"))),
        ("localhost:5000/a/b:1", Location(transport="docker", reference=reference("localhost:5000/a/b:1"))),
        ("docker://alpine:3", Location(transport="docker", reference=reference("alpine:3"))),
        (
            f"docker://r.example/a@{DIGEST}",
            Location(transport="docker", reference=reference(f"r.example/a@{DIGEST}")),
        ),
        ("docker://dir:1", Location(transport="docker", reference=reference("dir:1"))),
        ("oci:some/dir", Location(transport="oci", path="some/dir")),
        ("oci:/dir:tag", Location(transport="oci", path="/dir", name="tag")),
        ("oci:dir:r.example/app:1.4", Location(transport="oci", path="dir", name="r.example/app:1.4")),
        (f"oci:dir@{DIGEST}", Location(transport="oci", path="dir", name=Digest(DIGEST))),
        ("oci:a@b:tag", Location(transport="oci", path="a@b", name="tag")),
        ("oci-archive:a.tar", Location(transport="oci-archive", path="a.tar")),
        ("oci-archive:a.tar:x", Location(transport="oci-archive", path="a.tar", name="x")),
        ("docker-archive:a.tar", Location(transport="docker-archive", path="a.tar")),
        (
            "docker-archive:a.tar:app:1",
            Location(transport="docker-archive", path="a.tar", reference=reference("app:1")),
        ),
        ("store:app:1", Location(transport="store", reference=reference("app:1"))),
    ],
)
def test_places_are_read(text: str, expected: Location) -> None:
    assert Location.parse(text) == expected
    assert Location.parse(str(expected)) == expected
    assert Location.of(text) == Location.of(expected)


@pytest.mark.parametrize(
    "text",
    [
        "dir:/x",
        "docker-daemon:app:1",
        "containers-storage:app",
        "docker:app",
        "http://r.example/a",
        "ftp://r.example/a",
        "oci:",
        "oci::tag",
        "oci:dir:",
        "oci:dir:../x",
        "oci:dir:a b",
        "oci:di\0r",
        f"oci:dir@sha256:{'A' * 64}",
        f"oci:dir@sha256:{'a' * 63}",
        "oci-archive:",
        "docker-archive:",
        "docker-archive:a.tar:APP",
        "docker-archive:a.tar:",
        "store:",
        "store:UPPER",
        "docker://",
        "docker://docker://a",
        "",
        "a" * 2000,
    ],
)
def test_rg_07_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises((InvalidLocation, InvalidReference)):
        Location.parse(text)


def test_references_are_registries() -> None:
    assert Location.of(reference("app:1")) == Location(transport="docker", reference=reference("app:1"))


@given(
    st.text(max_size=80) | st.from_regex(r"(oci|oci-archive|docker-archive|store|docker):[a-z:/@.0-9]{0,40}")
)
def test_any_text_is_a_place_or_an_error(text: str) -> None:
    try:
        found = Location.parse(text)
    except SpecError:
        return
    assert Location.parse(str(found)) == found
