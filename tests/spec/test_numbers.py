"""Numbers from outside are read by one strict reader."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.errors import SpecError
from ociworks.spec.digest import Digest
from ociworks.spec.numbers import parse_uint
from ociworks.spec.platform import Platform

UINT32 = 2**32 - 1


@given(st.integers(min_value=0, max_value=UINT32))
def test_every_number_in_range_reads_back(number: int) -> None:
    """Text and bytes give the same number."""
    assert parse_uint(str(number), UINT32) == number
    assert parse_uint(str(number).encode(), UINT32) == number


@given(st.integers(min_value=0), st.integers(min_value=0))
def test_nothing_beyond_the_maximum_passes(number: int, maximum: int) -> None:
    """The bound is inclusive."""
    if number <= maximum:
        assert parse_uint(str(number), maximum) == number
    else:
        with pytest.raises(SpecError, match=f"from 0 to {maximum}"):
            parse_uint(str(number), maximum)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 0",
        "0\n",
        " 0\n",
        "+0",
        "-0",
        "-1",
        "1_000",
        "0x10",
        "1.0",
        "1e3",
        "00",
        "007",
        "٠",
        "1٢",
        "１００",
        "0\0",
    ],
)
def test_sp_07_lenient_numbers(text: str) -> None:
    """What ``int()`` would take, or guess, is refused, as text and as bytes."""
    for form in (text, text.encode()):
        with pytest.raises(SpecError, match="uid: expected decimal digits"):
            parse_uint(form, UINT32, "uid")


def test_sp_07_long_numbers_are_refused_before_they_are_converted() -> None:
    """A million digits cost nothing, and the message does not repeat them."""
    with pytest.raises(SpecError) as caught:
        parse_uint("9" * 1_000_000, UINT32)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("ending", ["\n", "\r", " ", "\0"])
def test_sp_07_grammars_match_the_whole_text(ending: str) -> None:
    """A digest or platform that ends in a newline is none."""
    with pytest.raises(SpecError):
        Digest.parse("sha256:" + "0" * 64 + ending)
    with pytest.raises(SpecError):
        Platform.parse("linux/amd64" + ending)


def test_sp_05_checks_that_can_be_switched_off() -> None:
    """Neither ``-O`` nor attrs' switch changes what identifiers and limits refuse."""
    script = """
import attrs, io
attrs.validators.set_disabled(True)
from ociworks import spec
from ociworks.errors import OciworksError
from ociworks.spec.numbers import parse_uint
refused = 0
for attempt in (
    lambda: parse_uint("+1", 5),
    lambda: parse_uint("6", 5),
    lambda: spec.Digest.parse("sha256:../x"),
    lambda: spec.Hasher("md5"),
    lambda: spec.Platform.parse("linux/../x"),
    lambda: spec.parse(spec.image.Descriptor, b'{"mediaType":"a/b","digest":"x","size":-1}'),
    lambda: spec.VerifyingReader(io.BytesIO(b"a"), digest=spec.Digest.of(b"b"), size=1).verify(),
    lambda: spec.image.read_manifest(b"{}"),
):
    try:
        attempt()
    except OciworksError:
        refused += 1
raise SystemExit(refused != 8)
"""
    subprocess.run([sys.executable, "-O", "-c", script], check=True)
