"""Platforms: parse, normalise, match, rank, select."""

from __future__ import annotations

import platform as host_platform

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.errors import InvalidPlatform
from ociworks.spec.platform import Platform, select

parse = Platform.parse


@pytest.mark.parametrize(
    ("text", "os", "architecture", "variant", "version"),
    [
        ("linux/amd64", "linux", "amd64", None, None),
        ("linux/arm64/v8", "linux", "arm64", "v8", None),
        ("linux/arm/v7", "linux", "arm", "v7", None),
        ("windows(10.0.17763.1)/amd64", "windows", "amd64", None, "10.0.17763.1"),
        ("Linux/x86_64", "Linux", "x86_64", None, None),
    ],
)
def test_parse_keeps_what_was_written(
    text: str, os: str, architecture: str, variant: str | None, version: str | None
) -> None:
    """And ``str`` writes it back."""
    value = parse(text)
    assert (value.os, value.architecture, value.variant, value.os_version) == (
        os,
        architecture,
        variant,
        version,
    )
    assert str(value) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "linux/", "/amd64", "linux//v8", "linux/arm/v7/x", "linux/amd64\n", "a b", "linux/../x"),
        *(
            "lınux/amd64",
            "toaster",
            "linux()/amd64",
            "linux/amd64 ",
            "-/-",
            "windows(10)(11)/amd64",
            "amd64(1)",
        ),
    ],
)
def test_what_is_no_platform(text: str) -> None:
    """The error quotes it."""
    with pytest.raises(InvalidPlatform, match=r"expected .* got '"):
        parse(text)


def test_single_words_take_the_rest_from_the_host() -> None:
    """An operating system, an architecture, or an alias of either."""
    host = Platform.host()
    assert parse(host.os) == host
    assert parse("s390x") == Platform(os=host.os, architecture="s390x")
    assert parse("aarch64").matches(Platform(os=host.os, architecture="arm64"))


def test_the_host_is_named_as_the_field_names_it() -> None:
    """The kernel's machine name is an alias of the host's architecture."""
    host = Platform.host()
    assert host == host.normalized()
    machine = Platform(os=host.os, architecture=host_platform.machine())
    assert machine.normalized() == host
    assert host.rank(host) == 0


@pytest.mark.parametrize(
    ("written", "usual"),
    [
        ("linux/x86_64", "linux/amd64"),
        ("linux/x86-64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v8.0", "linux/arm64"),
        ("linux/arm64/v9", "linux/arm64/v9"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/i386", "linux/386"),
        ("linux/i686", "linux/386"),
        ("macOS/ARM64", "darwin/arm64"),
        ("linux/powerpc64le", "linux/ppc64le"),
        ("linux/riscv64", "linux/riscv64"),
    ],
)
def test_normalized(written: str, usual: str) -> None:
    """Aliases become the usual names; normalising twice changes nothing."""
    value = parse(written).normalized()
    assert str(value) == usual
    assert value.normalized() == value
    assert parse(written).rank(parse(usual)) == 0


@pytest.mark.parametrize(
    ("wanted", "runs", "does_not"),
    [
        ("linux/arm/v8", "linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5", "linux/arm64 linux/amd64"),
        ("linux/arm", "linux/arm/v7 linux/arm/v6 linux/arm/v5", "linux/arm/v8"),
        ("linux/arm64", "linux/arm64/v8", "linux/arm64/v9 linux/arm/v7 darwin/arm64"),
        (
            "linux/arm64/v9",
            "linux/arm64/v9 linux/arm64/v8.5 linux/arm64/v8",
            "linux/arm64/v10 linux/arm64/v8.6",
        ),
        ("linux/arm64/v9.1", "linux/arm64/v9.1 linux/arm64/v9 linux/arm64/v8.6", "linux/arm64/v9.2"),
        (
            "linux/arm64/v8.2",
            "linux/arm64/v8.2 linux/arm64/v8.1 linux/arm64",
            "linux/arm64/v8.3 linux/arm64/v9",
        ),
        ("linux/amd64", "linux/amd64", "linux/amd64/v2 linux/386 windows/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3 linux/amd64/v2 linux/amd64", "linux/amd64/v4"),
        ("linux/ppc64le/power9", "linux/ppc64le/power9", "linux/ppc64le/power10 linux/ppc64le"),
        ("linux/s390x", "linux/s390x", "linux/s390x/z15"),
    ],
)
def test_matching_with_variants(wanted: str, runs: str, does_not: str) -> None:
    """What runs is listed best first."""
    ranks = [parse(wanted).rank(parse(text)) for text in runs.split()]
    assert None not in ranks
    assert ranks == sorted(ranks, key=lambda rank: -1 if rank is None else rank)
    assert len(set(ranks)) == len(ranks)
    for text in does_not.split():
        assert not parse(wanted).matches(parse(text)), text


def test_32_bit_images_are_a_last_resort_on_request() -> None:
    """386 on amd64, arm on arm64: never unless asked for."""
    amd64, arm64 = parse("linux/amd64"), parse("linux/arm64")
    offers = [parse("linux/386"), parse("linux/arm/v6"), parse("linux/arm/v7")]
    assert select(amd64, offers) is None
    assert select(arm64, offers) is None
    assert select(amd64, offers, allow_32bit=True) == 0
    assert select(arm64, offers, allow_32bit=True) == 2
    assert select(amd64, [*offers, amd64], allow_32bit=True) == 3


def test_selection_is_the_best_and_the_first_of_equals() -> None:
    """An entry without a platform is never chosen."""
    wanted = parse("linux/amd64/v3")
    offers = [
        None,
        parse("linux/amd64"),
        parse("linux/arm64"),
        parse("linux/amd64/v2"),
        parse("linux/x86_64/v2"),
    ]
    assert select(wanted, offers) == 3
    assert select(wanted, [None]) is None
    assert select(wanted, []) is None


def test_windows_versions() -> None:
    """The build must be the same, the revision may differ; a version that is not said matches any."""
    wanted = parse("windows(10.0.17763.1)/amd64")
    offers = ["windows(10.0.20348.1)/amd64", "windows(10.0.17763.9)/amd64", "windows(10.0.17763.1)/amd64"]
    assert [wanted.rank(parse(text)) for text in offers] == [None, 1, 0]
    assert wanted.matches(parse("windows/amd64"))
    assert parse("windows/amd64").matches(parse(offers[0]))
    assert parse("linux(5)/amd64").matches(parse("linux(6)/amd64"))


def test_features_the_image_needs_must_be_there() -> None:
    """``os.features`` of the offer is a subset of the wanted platform's."""
    plain = parse("windows/amd64")
    graphical = Platform(os="windows", architecture="amd64", os_features=("win32k",))
    assert graphical.matches(plain)
    assert not plain.matches(graphical)


words = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True)


@given(words, words, st.none() | words)
def test_text_round_trip(os: str, architecture: str, variant: str | None) -> None:
    """What parses is what was written; every platform matches itself, however it is spelled."""
    value = Platform(os=os, architecture=architecture, variant=variant)
    assert parse(str(value)) == value
    assert value.normalized().normalized() == value.normalized()
    assert value.rank(value) == 0
    assert value.normalized().rank(value) == 0
