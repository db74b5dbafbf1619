"""The instrument itself: what is measured, in which order, and what is printed."""

from __future__ import annotations

import pytest

from benchmarks._measure import Comparison, compare, program, report


def test_pairs_alternate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warm-up once each; then pairs, whose order alternates."""
    monkeypatch.delenv("BENCH_PAIRS", raising=False)
    calls: list[str] = []
    done = compare("w", lambda: calls.append("a"), "p", lambda: calls.append("b"), pairs=3)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert len(done.ours) == len(done.theirs) == 3


def test_ratios_are_of_pairs() -> None:
    """A machine that becomes slower in the middle does not move the ratio."""
    found = Comparison(work="w", peer="p", ours=(1.0, 10.0, 2.0), theirs=(2.0, 20.0, 4.0), aim=0.5)
    assert found.ratios == (0.5, 0.5, 0.5)
    assert found.reached


def test_the_report_names_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Median, minimum, maximum, whether the aim was reached, and how to get the figure again."""
    report("x", [Comparison(work="w", peer="p", ours=(1.0, 2.0, 3.0), theirs=(1.0, 1.0, 1.0), aim=1.5)])
    text = capsys.readouterr().out
    assert "2 ×" in text
    assert "≤ 1.5 NO" in text
    assert text.rstrip().endswith("again: scripts/bench x")


def test_a_peer_that_fails_ends_the_benchmark() -> None:
    """A figure of a failed program would be a lie."""
    with pytest.raises(SystemExit, match="exit status 1"):
        program("false")()
