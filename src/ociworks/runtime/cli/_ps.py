"""``ps``."""

from __future__ import annotations

import sys

from ociworks.runtime import _cgroupkill, _facts, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from ociworks.runtime.cli._call import Call

__all__ = ["main"]


def main(call: Call) -> int:
    """Print the processes of a container: their pids, or the lines that ps(1) has for them."""
    form = call.flags.text("format", "table")
    record = call.record()
    pids = _cgroupkill.processes(record.cgroups)
    if not record.cgroups and state.is_alive(record):
        pids = [record.pid]
    if form == "json":
        sys.stdout.write(f"{_facts.dumps(pids)}\n")
        return 0
    if form != "table":
        raise ValueError("invalid format option")
    _table(list(call.arguments[1:]) or ["-ef"], set(pids))
    return 0


def _table(arguments: list[str], pids: Collection[int]) -> None:
    import subprocess

    done = subprocess.run(["ps", *arguments], capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise ValueError(f"exit status {done.returncode}: {done.stdout}{done.stderr}")
    title, *lines = done.stdout.splitlines()
    if "PID" not in title.split():
        raise ValueError("couldn't find PID field in ps output")
    column = title.split().index("PID")
    wanted = {str(pid) for pid in pids}
    shown = [
        title,
        *(line for line in lines if line.split()[column : column + 1] and line.split()[column] in wanted),
    ]
    for line in shown:
        sys.stdout.write("".join(character if character.isprintable() else "?" for character in line) + "\n")
