"""Numbers as people write them: each spelling has one meaning or is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.cli import _units
from ociworks.errors import SpecError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", 1), ("1b", 1), ("64k", 65536), ("64K", 65536), ("3m", 3 << 20), ("2g", 2 << 30), ("1T", 1 << 40)],
)
def test_sizes(text: str, expected: int) -> None:
    """Units are powers of 1024."""
    assert _units.size(text) == expected


ODD_NUMBERS = [
    "",
    "0",
    "-1",
    "+1",
    " 1",
    "1 ",
    "1\n",
    "1_000",
    "٣",
    "１",
    "1e3",
    "0x10",
    "nan",
    "inf",
    "9" * 40,
]


@pytest.mark.parametrize("text", [*ODD_NUMBERS, "1.5m", "64mb", "m", "9223372036854775807k"])
def test_cl_05_what_is_no_size(text: str) -> None:
    """Signs, blanks, other digits and numbers that overflow are refused, not rounded."""
    with pytest.raises(SpecError):
        _units.size(text)


@pytest.mark.parametrize("text", [*ODD_NUMBERS, "1.0", "2147483648"])
def test_cl_05_what_is_no_count(text: str) -> None:
    """A limit of nothing or of everything is never a typing mistake away."""
    with pytest.raises(SpecError):
        _units.whole_number(text)


@pytest.mark.parametrize("text", [*ODD_NUMBERS, "1.", ".5", "0.000", "1.2345"])
@pytest.mark.parametrize("read", [_units.cpus, _units.seconds])
def test_cl_05_what_is_no_decimal(read: object, text: str) -> None:
    """Decimals are plain: digits, a point, up to three digits."""
    assert callable(read)
    with pytest.raises(SpecError):
        read(text)


@given(st.integers(1, 9_999_999), st.integers(0, 999))
def test_decimals(whole: int, thousandths: int) -> None:
    """Every number with three decimals is read as itself."""
    assert _units.cpus(f"{whole}.{thousandths:03}") == float(f"{whole}.{thousandths:03}")


def test_environment() -> None:
    """The first equals sign decides; the value may be empty and may hold anything that a string can."""
    assert _units.environment("A=b=c") == ("A", "b=c")
    assert _units.environment("A=") == ("A", "")
    assert _units.environment("A=x\ny") == ("A", "x\ny")


@pytest.mark.parametrize("text", ["", "A", "=x", "=", "A=\0", "A\0=b"])
def test_cl_05_what_is_no_variable(text: str) -> None:
    """A variable without name or value has no documented meaning here."""
    with pytest.raises(SpecError):
        _units.environment(text)
