"""Signals by name and number."""

from __future__ import annotations

import platform
import signal

import pytest

from ociworks.errors import SpecError
from ociworks.spec.signals import SIGNALS, signal_number


@pytest.mark.skipif(
    platform.machine() not in {"x86_64", "aarch64"}, reason="the kernel numbers signals otherwise here"
)
def test_the_table_is_the_kernels() -> None:
    """Every name that Python knows on this Linux host has the same number."""
    for member in signal.Signals:
        assert signal_number(member.name) == member.value


def test_the_forms_that_people_write() -> None:
    """With and without prefix, relative to the real-time bounds, as a number."""
    assert signal_number("SIGTERM") == signal_number("TERM") == signal_number("15") == 15
    assert signal_number("SIGRTMIN+3") == 37
    assert signal_number("RTMAX-14") == 50
    assert all(1 <= number <= 64 for number in SIGNALS.values())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-9",
        "65",
        "KILL\n",
        "SIG",
        "SIGSIGTERM",
        "term",
        "SIGRTMIN+16",
        "SIGRTMIN-1",
        "+9",
        "09",
        "٩",
    ],
)
def test_sp_11_hostile_signals(text: str) -> None:
    """A closed table; nothing is guessed."""
    with pytest.raises(SpecError):
        signal_number(text)
