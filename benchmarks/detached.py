"""Detached containers: what one costs in memory, and whether the hundredth starts as fast as the first.

A hundred sleeping containers are created and started, four at a time, each with a shim and a log; the rate of the last
quarter against that of the first is the slope. Memory is PSS, the kernel's fair share of what several processes use:
what all processes of the runtime (launcher, shims and inits) have more than the launcher alone, by container. The aims
are 2.5 MB a container and no slope.
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
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
    launcher = _parent(_parent(runtime.get("warm").pid))
    runtime.get("warm").delete(force=True)
    alone = _pss(launcher)
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
    print(f"| PSS of the launcher alone | {alone / 1024:.1f} MB | |")
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


def _pss(pid: int) -> int:
    """Kilobytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))  # trusted: the kernel's


if __name__ == "__main__":
    main()
