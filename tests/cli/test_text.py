"""What reaches a terminal is harmless, whoever wrote it (CL-04)."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.cli._text import one_line, printable

HOSTILE = [
    "\x1b]0;title\x07",
    "\x1b[2J",
    "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\",
    "\x9b31m",
    "a\rb",
    "a\x07b",
    "\u202eevil",
    "a\u200bb",
    "\u2028",
    "\ud800",
    "\0",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_cl_04_hostile_text(text: str) -> None:
    """Nothing that a terminal obeys, and nothing that it hides, is left."""
    for shown in (printable(text), one_line(text)):
        assert shown.isprintable()
        shown.encode("utf-8")


@given(st.text())
def test_cl_04_any_text(text: str) -> None:
    """Whatever comes in, one line of printable characters comes out."""
    shown = one_line(text)
    assert not any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in shown)


def test_long_text_is_cut() -> None:
    """A 100 KB line does not flood the terminal."""
    assert len(one_line("x" * 100_000)) < 5000


def test_lines_are_joined() -> None:
    """An error with a list of problems becomes one line."""
    assert one_line("2 problems\n  $.a: no\n  $.b: no") == "2 problems $.a: no; $.b: no"


def test_letters_stay() -> None:
    """Escaping is not ASCII-fication."""
    assert printable("Grüße, 世界") == "Grüße, 世界"
