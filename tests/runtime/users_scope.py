"""Run by an ordinary user with a manager of systemd: a container in a scope of that manager. Prints what was seen."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from ociworks.runtime import Runtime
from ociworks.spec.runtime import Pids, Resources
from tests.runtime.boxes import box, with_linux


def main() -> None:
    """One run, then a life with an exec and an update."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bundle = with_linux(box(folder / "bundle", rootless=True), resources=Resources(pids=Pids(limit=20)))
        with Runtime(folder / "root", systemd_cgroup=True) as runtime:
            ran = runtime.run(bundle, ["true"]).returncode
            with runtime.create("box", bundle, ["sleep", "1000"]) as container:
                container.start()
                group = Path(f"/proc/{container.pid}/cgroup").read_text().strip()
                executed = container.exec(["cat", "/proc/self/cgroup"])
                container.update(Resources(pids=Pids(limit=30)))
                pids = container.stats().pids
                members = len(container.processes())
    seen = [ran, group, executed.stdout.decode().strip(), pids.limit if pids else None, members]
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
