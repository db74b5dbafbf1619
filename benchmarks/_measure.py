"""Compare two ways to do the same work, on a machine that is never quiet.

Absolute times on shared machines mean little: ours and the peer's run in alternating pairs (the order inside
a pair alternates too), each pair gives one ratio, and the median, minimum and maximum of the ratios are
reported together with the command that gives them again::

    from benchmarks._measure import compare, report

    def main() -> None:
        report("spec", [compare("parse a manifest", ours, "json.loads", peer, number=200, aim=8.0)])

    if __name__ == "__main__":
        main()
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Comparison", "compare", "program", "python", "report"]

Work = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The seconds per call of each pair, ours and the peer's, in the order in which they ran."""

    work: str
    peer: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    aim: float | None = None
    """The ratio that we want at most; None where nothing is promised."""

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours divided by the peer's, pair by pair."""
        return tuple(mine / other for mine, other in zip(self.ours, self.theirs, strict=True))

    @property
    def ratio(self) -> float:
        """The median ratio."""
        return statistics.median(self.ratios)

    @property
    def reached(self) -> bool | None:
        """Whether the median is within the aim; None without an aim."""
        return None if self.aim is None else self.ratio <= self.aim


def compare(  # noqa: PLR0913 - all but the four by keyword
    work: str,
    ours: Work,
    peer: str,
    theirs: Work,
    *,
    pairs: int = 15,
    number: int = 1,
    aim: float | None = None,
    before: Work | None = None,
    after: Work | None = None,
) -> Comparison:
    """Time ``ours`` against ``theirs`` in alternating pairs; each sample is the mean of ``number`` calls.

    One call of each warms caches up and is not counted. ``before`` precedes and ``after`` follows every sample, both
    are not timed: they make what the work needs, of both sides, and take away what it left. ``BENCH_PAIRS`` in the
    environment overrides ``pairs``. The garbage collector is off while a sample runs, as in ``timeit``.
    """
    pairs = max(1, int(os.environ.get("BENCH_PAIRS", str(pairs))))
    for call in (ours, theirs):
        _sample(call, number, before, after)
    mine: list[float] = []
    other: list[float] = []
    for pair in range(pairs):
        sides = [(ours, mine), (theirs, other)]
        for call, samples in sides if pair % 2 == 0 else reversed(sides):
            samples.append(_sample(call, number, before, after))
    return Comparison(work=work, peer=peer, ours=tuple(mine), theirs=tuple(other), aim=aim)


def program(*command: str | os.PathLike[str]) -> Work:
    """Work that runs a program to its end, output thrown away; a failure ends the benchmark.

    What it writes goes to a file: a container that a command leaves behind would hold a pipe open.
    """

    def run() -> None:
        with tempfile.TemporaryFile() as errors:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, check=False
            )
            if done.returncode:
                errors.seek(0)
                said = errors.read().decode("utf-8", "backslashreplace")
                raise SystemExit(f"{os.fspath(command[0])}: exit status {done.returncode}\n{said}")

    return run


def python(code: str) -> Work:
    """Work that runs ``code`` in a fresh interpreter, this one."""
    return program(sys.executable, "-c", code)


def report(name: str, comparisons: Iterable[Comparison]) -> None:
    """Print a table of the comparisons, and the command that gives it again."""
    rows = [_row(comparison) for comparison in comparisons]
    head = ("work", "peer", "ours ms", "peer ms", "ratio", "min", "max", "aim")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    print(f"## {name}: ours ÷ peer, {_machine()}")
    for row in [head, *rows]:
        print(_aligned(row, widths))
    print(f"again: scripts/bench {name}\n", flush=True)


def _sample(call: Work, number: int, before: Work | None, after: Work | None) -> float:
    if before is not None:
        before()
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = time.perf_counter()
        for _ in range(number):
            call()
        return (time.perf_counter() - start) / number
    finally:
        if collecting:
            gc.enable()
        if after is not None:
            after()


def _row(comparison: Comparison) -> tuple[str, ...]:
    ratios = comparison.ratios
    reached = {None: "", True: " yes", False: " NO"}[comparison.reached]
    aim = "" if comparison.aim is None else f"≤ {comparison.aim:g}{reached}"
    return (
        comparison.work,
        comparison.peer,
        _milliseconds(comparison.ours),
        _milliseconds(comparison.theirs),
        f"{comparison.ratio:.3g} ×",
        f"{min(ratios):.3g}",
        f"{max(ratios):.3g}",
        aim,
    )


def _milliseconds(samples: Sequence[float]) -> str:
    return f"{statistics.median(samples) * 1000:.4g}"


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
    return "  " + "  ".join(cells).rstrip()


def _machine() -> str:
    return (
        f"Python {platform.python_version()}, {os.cpu_count()} CPUs, Linux {platform.release().split('-')[0]}"
    )
