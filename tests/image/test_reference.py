"""References: one grammar, one spelling, and errors that say what was expected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.errors import InvalidReference
from ociworks.image.reference import Reference
from ociworks.spec.digest import Digest

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("alpine", "docker.io", "library/alpine", None, None),
        ("alpine:3.20", "docker.io", "library/alpine", "3.20", None),
        ("index.docker.io/alpine", "docker.io", "library/alpine", None, None),
        ("acme/app", "docker.io", "acme/app", None, None),
        ("ghcr.io/acme/app:1.4", "ghcr.io", "acme/app", "1.4", None),
        ("GHCR.io/acme/app", "ghcr.io", "acme/app", None, None),
        ("localhost/app", "localhost", "app", None, None),
        ("localhost:5000/a/b/c:x", "localhost:5000", "a/b/c", "x", None),
        ("reg:5000/app", "reg:5000", "app", None, None),
        ("[::1]:5000/x", "[::1]:5000", "x", None, None),
        ("[0:0::1]/x", "[::1]", "x", None, None),
        ("127.0.0.1:5000/x", "127.0.0.1:5000", "x", None, None),
        (f"a/b@{DIGEST}", "docker.io", "a/b", None, DIGEST),
        (f"r.example/b:t@{DIGEST}", "r.example", "b", "t", DIGEST),
        ("a--b/c__d.e-f", "docker.io", "a--b/c__d.e-f", None, None),
    ],
)
def test_forms(text: str, registry: str, repository: str, tag: str | None, digest: str | None) -> None:
    found = Reference.parse(text)
    assert (found.registry, found.repository, found.tag) == (registry, repository, tag)
    assert found.digest == (None if digest is None else Digest.parse(digest))
    assert Reference.parse(str(found)) == found
    assert Reference.parse(found.familiar) == found


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "@", "/", "a/", "/a", "a//b", "a/../b", "a/./b", "../a", "A", "acme/App", "Upper/x",
        "docker.io@evil/x", "reg\\@evil/x", "user:pw@reg.example/x", "http://reg/x", "https://reg.example/x",
        "reg:99999/x", "reg:0/x", "reg:/x", "reg:05000/x", "reg:+1/x", "reg:١/x",
        "a" * 64, "library/" + "a" * 64, "0" * 64 + ":tag",
        "x\n", "x:t\n", "x ", " x", "x\0", "é/x", "x:té", "x:.t", "x:-t", "x:" + "t" * 129, "x:a:b", "x@", "x:",
        "-a.example/x", "a..example/x", ".example/x", "a.example-/x", "a_b.example/x",
        "[::1/x", "[::1]x/x", "[::1]:/x", "[fe80::1%eth0]/x", "[localhost]/x", "[]/x",
        "127.1/x", "0x7f.1/x", "2130706433:80/x", "0x7f000001:80/x", "256.1.1.1/x", "127.0.0.01/x", "1.2.3.4.5/x",
        "x@sha256:" + "AB" * 32, "x@sha256:../../x", "x@md5", f"x@{DIGEST}@{DIGEST}", f"x@{DIGEST}\n",
        "a.example/" + "b" * 256, "x" * 5000,
    ],
)  # fmt: skip
def test_rg_18_no_other_spelling(text: str) -> None:
    """What the grammar does not match as a whole is refused, and the message shows it in printable ASCII."""
    with pytest.raises(InvalidReference, match="expected") as caught:
        Reference.parse(text)
    assert str(caught.value).replace("…", "").isascii()
    assert str(caught.value).isprintable()


def test_rg_18_names_that_only_look_local_keep_their_own_host() -> None:
    assert Reference.parse("localhost.evil/x").registry == "localhost.evil"
    assert Reference.parse("reg.local/x").registry == "reg.local"


def test_rg_18_the_digest_decides() -> None:
    both = Reference.parse(f"r.example/b:t@{DIGEST}")
    assert both.target == Digest.parse(DIGEST)
    assert Reference.parse("b").target == "latest"


@pytest.mark.parametrize(
    ("registry", "repository", "tag"),
    [
        ("r.example/..", "x", None), ("R.example", "x", None), ("r.example", "../x", None), ("r.example", "x", "a/b"),
        ("r.example:080", "x", None), ("", "x", None), ("r.example", "", None), ("r.example", "x", ""),
    ],
)  # fmt: skip
def test_rg_18_the_constructor_is_as_strict_as_the_parser(
    registry: str, repository: str, tag: str | None
) -> None:
    with pytest.raises(InvalidReference):
        Reference(registry=registry, repository=repository, tag=tag)


def test_default_registry() -> None:
    assert str(Reference.parse("app:1", default_registry="quay.io")) == "quay.io/app:1"
    assert str(Reference.parse("docker.io/app:1", default_registry="quay.io")) == "docker.io/library/app:1"


def test_at_keeps_the_place() -> None:
    assert str(Reference.parse("app:1").at(Digest.parse(DIGEST))) == f"docker.io/library/app:1@{DIGEST}"


components = st.from_regex(r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True)
hosts = st.from_regex(
    r"[a-z]([a-z0-9-]{0,9}[a-z0-9])?(\.[a-z]([a-z0-9-]{0,9}[a-z0-9])?){1,3}", fullmatch=True
)


@given(
    host=hosts,
    port=st.none() | st.integers(1, 65535),
    path=st.lists(components, min_size=1, max_size=4).map("/".join),
    tag=st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True),
    digest=st.none() | st.binary(max_size=8).map(Digest.of),
)
def test_round_trip(host: str, port: int | None, path: str, tag: str | None, digest: Digest | None) -> None:
    registry = host if port is None else f"{host}:{port}"
    made = Reference(registry=registry, repository=path, tag=tag, digest=digest)
    if registry != "docker.io":
        assert Reference.parse(str(made)) == made


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60) | st.text("ab.:/@[]-_A0\n", max_size=30))
def test_any_text_is_a_value_or_a_typed_error(text: str) -> None:
    try:
        found = Reference.parse(text)
    except InvalidReference:
        return
    assert Reference.parse(str(found)) == found
    assert Reference.parse(found.familiar) == found
