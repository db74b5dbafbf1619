"""Run by an ordinary user with a manager of systemd: a container in a scope of that manager. Prints what was seen."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from ociworks import spec
from ociworks.runtime import Detach, ExecOptions, Runtime
from ociworks.spec.runtime import Pids, Resources
from tests.runtime.boxes import box, with_linux


def group_of(pid: int) -> str:
    """The group of a process."""
    return Path(f"/proc/{pid}/cgroup").read_text().strip()


def detached(runtime: Runtime, bundle: spec.Bundle, folder: Path) -> list[object]:
    """A container with a shim, and processes of each kind in it, begun by another Runtime; where all of them are."""
    script = ["sh", "-c", "echo begun; read x; exit 7"]
    made = runtime.create("far", bundle, script, detach=Detach(log=folder / "log", stdin=True))
    made.start()
    first = group_of(made.pid)
    with Runtime(runtime.root, systemd_cgroup=True) as other, other.get("far") as found:
        places = [group_of(found.pid)]
        with found.spawn(["sleep", "1000"]) as running:
            places.append(group_of(running.pid))
        alone = found.spawn(["sleep", "1000"], options=ExecOptions(detach=True))
        places.append(group_of(alone.pid))
        found.update(Resources(pids=Pids(limit=40)))
        alone.kill("KILL")
        alone.close()
        with found.attach(stdin=True) as attached:
            attached.write(b"\n")
            list(attached)
        status = found.wait(60)
        said = [record.data.decode() for record in found.logs()]
    return [first, sorted(set(places)), status, said]


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
            held = detached(runtime, bundle, folder)
    seen = [ran, group, executed.stdout.decode().strip(), pids.limit if pids else None, members, held]
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
