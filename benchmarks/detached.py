"""Detached containers: what one costs in memory, and whether the hundredth starts as fast as the first.

A hundred sleeping containers are created and started, four at a time, each with a shim and a log; the rate of the last
quarter against that of the first is the slope. Memory is PSS, the kernel's fair share of what several processes use:
what all processes of the runtime (launcher, shims and inits) have more than the launcher alone, by container. What the
launcher adds to its caller is what would be free without it and the processes that it made ahead: memory of their own
and the sealed copy of the interpreter, and no share of what the caller has mapped, too. The aims are 6 MB for the
launcher, 2.5 MB a container, and no slope. Where the environment forbids compiled modules
(``PYTHONDONTWRITEBYTECODE``) the launcher compiles its own and keeps 1.3 MB more.
"""

from __future__ import annotations

import os
import select
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.runtime import _bundle, _missing
from ociworks.runtime import Detach, Runtime
from ociworks.spec import Bundle

CONTAINERS = 100
AT_ONCE = 4


def main() -> None:
    """Print the table."""
    missing = _missing()
    if missing:
        print(f"## detached: left out, {missing}\n")
        return
    with tempfile.TemporaryDirectory(prefix="ociworks-bench-") as folder:
        root = Path(folder, "ours")
        with Runtime(root) as runtime:
            try:
                _measure(runtime, _bundle(Path(folder)), Path(folder))
            finally:
                for container in runtime.list():
                    container.delete(force=True)


def _measure(runtime: Runtime, bundle: Bundle, folder: Path) -> None:
    _start(runtime, bundle, folder, "warm")
    shim = _parent(runtime.get("warm").pid)
    launcher = _parent(shim)
    with _until_it_ended(shim):
        runtime.get("warm").delete(force=True)
    alone, added = _pss(launcher), _copied(launcher) + sum(map(_own, _family(launcher)))
    begun = time.perf_counter()

    def start(number: int) -> float:
        _start(runtime, bundle, folder, f"bench-{number}")
        return time.perf_counter() - begun

    with ThreadPoolExecutor(AT_ONCE) as pool:
        moments = sorted(pool.map(start, range(CONTAINERS)))
    quarter = CONTAINERS // 4
    first = quarter / moments[quarter - 1]
    last = quarter / (moments[-1] - moments[-quarter - 1])
    shims = [_parent(container.pid) for container in runtime.list()]
    inits = [container.pid for container in runtime.list()]
    everything = _pss(launcher) + sum(map(_pss, (*shims, *inits)))
    each = (everything - alone) / CONTAINERS
    share = sum(map(_pss, (*shims, *inits))) / CONTAINERS
    print("## detached\n")
    print("| what | measured | aim |")
    print("|---|---|---|")
    print(f"| what the launcher adds | {added / 1024:.1f} MB | 6 MB |")
    print(f"| PSS of the launcher alone, its share of common text included | {alone / 1024:.1f} MB | |")
    print(f"| PSS of a shim and its init | {share / 1024:.2f} MB | 2.5 MB |")
    print(f"| all that a container adds | {each / 1024:.2f} MB | 2.5 MB |")
    print(f"| starts a second, first quarter | {first:.0f} | |")
    print(f"| starts a second, last quarter | {last:.0f} | |")
    print(f"| slope (first to last) | {first / last:.2f} | about 1 |\n")


def _start(runtime: Runtime, bundle: Bundle, folder: Path, name: str) -> None:
    detach = Detach(log=folder / f"{name}.log")
    runtime.create(name, bundle, ["sleep", "1000000"], detach=detach).start()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])  # trusted: the kernel's


@contextmanager
def _until_it_ended(pid: int) -> Iterator[None]:
    """Do something that ends a process, and wait for that."""
    pidfd = os.pidfd_open(pid)
    try:
        yield
        select.select([pidfd], [], [])
    finally:
        os.close(pidfd)


def _family(pid: int) -> list[int]:
    """A process of one thread, and all that descend from it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (ProcessLookupError, FileNotFoundError):
        return []
    return [pid, *(one for child in children for one in _family(int(child)))]  # trusted: the kernel's


def _pss(pid: int) -> int:
    """Kilobytes."""
    return _rollup(pid)["Pss"]


def _own(pid: int) -> int:
    """Kilobytes: anonymous memory, of which a fork has its share, and what nobody else has mapped of files."""
    found = _rollup(pid)
    return found["Pss_Anon"] + found["Private_Clean"]


def _copied(pid: int) -> int:
    """Kilobytes of the interpreter's sealed copy, all of which are in memory."""
    return os.stat(f"/proc/{pid}/exe").st_blocks // 2


def _rollup(pid: int) -> Counter[str]:
    """What the kernel counts of a process's memory, in kilobytes; nothing of one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (ProcessLookupError, FileNotFoundError):
        return Counter()
    words = [line.split() for line in lines[1:]]
    return Counter({word[0].rstrip(":"): int(word[1]) for word in words})  # trusted: the kernel's


if __name__ == "__main__":
    main()
