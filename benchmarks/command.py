"""``ociworks-runtime`` as a process for each verb, against runc with the same bundle.

This is what conmon and containerd's shim pay: the interpreter starts anew each time. The bundle is that of
``benchmarks/runtime.py``; created containers are started, killed and deleted in turn by both sides.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks._measure import Comparison, compare, program, report
from benchmarks.runtime import _bundle, _missing, _sleeping

PAIRS = 15
VERBS = {
    "create": 1.0,
    "state": None,
    "start": 3.0,
    "kill": None,
    "delete": 3.0,
    "delete --force": 3.0,
}
"""Each verb and the most times that runc may take less."""


def main() -> None:
    """Print the table."""
    missing = _missing()
    if missing:
        print(f"## command: left out, {missing}\n")
        return
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="ociworks-bench-") as folder:
        bundle = _sleeping(_bundle(Path(folder)))
        bundle.save()
        Path(folder, "ours").mkdir(mode=0o700)
        sides = (
            [str(Path(sys.executable).with_name("ociworks-runtime")), "--root", f"{folder}/ours"],
            [shutil.which("runc") or "runc", "--root", f"{folder}/runc"],
        )
        try:
            rows = [_compare(verb, aim, sides, str(bundle.path)) for verb, aim in VERBS.items()]
        finally:
            for side in sides:
                _remove_all(side)
    report("command", rows)


def _compare(verb: str, aim: float | None, sides: tuple[list[str], list[str]], bundle: str) -> Comparison:
    ours, theirs = (_measured(verb, side, bundle) for side in sides)
    return compare(verb, ours, f"runc {verb}", theirs, pairs=PAIRS, aim=aim)


def _remove_all(side: list[str]) -> None:
    listed = subprocess.run([*side, "list", "--quiet"], capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        program(*side, "delete", "--force", name)()


def _end(side: list[str], name: str) -> None:
    """Kill a container and wait until it has stopped."""
    program(*side, "kill", name, "KILL")()
    status = ""
    while status != "stopped":
        told = subprocess.run([*side, "state", name], capture_output=True, check=True)
        status = json.loads(told.stdout)["status"]


def _measured(verb: str, side: list[str], bundle: str) -> Callable[[], None]:
    """One verb of many containers, which are brought to where it applies beforehand."""
    words = verb.split()
    names = (f"{words[-1].strip('-')}-{os.getpid()}-{number}" for number in itertools.count())
    arguments = ("create", "--bundle", bundle) if verb == "create" else words
    count = int(os.environ.get("BENCH_PAIRS", str(PAIRS))) + 1 if verb != "create" else 0
    ready = [next(names) for _ in range(count)]
    for name in ready:
        program(*side, "create", "--bundle", bundle, name)()
        if verb == "delete":
            _end(side, name)

    def once() -> None:
        program(*side, *arguments, ready.pop() if ready else next(names))()

    return once


if __name__ == "__main__":
    main()
