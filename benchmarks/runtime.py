"""Running ``/bin/true`` in a container, from Python, against runc's command line with the same bundle.

The bundle is busybox with the default profile: six new namespaces, control groups with device rules, the default
capabilities, seccomp filter, masked and read-only paths. ``run`` makes a container, runs the program to its end and
removes everything; ``exec`` runs it in a container that is there; ``delete`` ends one that runs and removes everything.
On our side the caller and its launcher are warm, as they are in any program that runs more than one container; runc is
a program that starts each time, as its users start it.

crun is measured in the same way. It refuses a host that has control groups of both versions, so both sides are then
measured in a mount namespace of their own without version 2.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs

from benchmarks._measure import Comparison, compare, program, report
from examples.programs import BUSYBOX, is_static
from ociworks.runtime import Container, Runtime
from ociworks.runtime.cgroups import detect
from ociworks.spec import Bundle
from ociworks.spec.defaults import default_spec
from ociworks.spec.runtime import Root

AIMS = {"runc": (0.15, 0.08, 0.05), "crun": (1.0, None, None)}
"""The most times that ``run``, ``exec`` and ``delete`` may take of the peer's."""
PAIRS = 25
TRUE = "/bin/true"


def main() -> None:
    """Print the table, of the peers that are named on the command line or of all."""
    missing = _missing()
    if missing:
        print(f"## runtime: left out, {missing}\n")
        return
    peers = sys.argv[1:] or [*AIMS]
    with tempfile.TemporaryDirectory(prefix="ociworks-bench-") as folder:
        bundle = _bundle(Path(folder))
        with (
            Runtime(Path(folder, "ours")) as runtime,
            runtime.create("bench", _sleeping(bundle)) as container,
        ):
            container.start()
            works = [name for name in peers if _works(name, bundle, Path(folder, name))]
            rows = [
                row
                for name in works
                for row in _compare(runtime, container, bundle, name, Path(folder, name))
            ]
    if rows:
        report("runtime", rows)
    unified = detect().unified
    if "crun" in set(peers) - set(works) and detect().mode == "hybrid" and unified is not None:
        _without(unified.mount_point, "crun")


def _missing() -> str:
    if os.geteuid() != 0:
        return "it needs root"
    if not is_static(BUSYBOX):
        return "busybox-static is not installed"
    return "" if shutil.which("runc") else "runc is not installed"


def _bundle(folder: Path) -> Bundle:
    rootfs = folder / "bundle/rootfs"
    for name in ("bin", "proc", "sys", "dev"):
        (rootfs / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, rootfs / "bin/busybox")
    for applet in ("true", "sleep"):
        (rootfs / "bin" / applet).symlink_to("busybox")
    spec = default_spec()
    assert spec.process is not None
    return Bundle.create(
        folder / "bundle", attrs.evolve(spec, process=attrs.evolve(spec.process, args=(TRUE,)))
    )


def _sleeping(bundle: Bundle) -> Bundle:
    assert bundle.spec.process is not None
    process = attrs.evolve(bundle.spec.process, args=("sleep", "1000000"))
    return bundle.replace(attrs.evolve(bundle.spec, process=process))


def _works(name: str, bundle: Bundle, folder: Path) -> bool:
    """Whether a peer runs a container here; says why not."""
    peer = shutil.which(name)
    if peer is None:
        print(f"# {name} is not installed")
        return False
    probe = subprocess.run(
        [peer, "--root", str(folder), "run", "--bundle", bundle.path, f"probe-{secrets.token_hex(4)}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if probe.returncode:
        print(f"# {name} does not run here: {probe.stderr.strip().splitlines()[-1]}", flush=True)
    return not probe.returncode


def _without(mount_point: str, name: str) -> None:
    """The table of one peer in a mount namespace without this mount."""
    print(f"# {name} and ours without {mount_point}, in a mount namespace of their own:", flush=True)
    script = 'umount "$0" && exec "$@"'
    again = (sys.executable, "-m", "benchmarks.runtime", name)
    subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, mount_point, *again],
        check=True,
    )


def _compare(
    runtime: Runtime, container: Container, bundle: Bundle, name: str, folder: Path
) -> list[Comparison]:
    """The rows against one peer."""
    command = [name, "--root", str(folder)]
    names = (f"bench-{os.getpid()}-{number}" for number in itertools.count())
    run_aim, exec_aim, delete_aim = AIMS[name]

    def run() -> None:
        program(*command, "run", "--bundle", bundle.path, next(names))()

    rows = [
        compare(
            f"run {TRUE}",
            lambda: runtime.run(bundle, [TRUE], check=True),
            f"{name} run",
            run,
            pairs=PAIRS,
            aim=run_aim,
        )
    ]
    with _running(command, bundle, next(names)) as running:
        theirs = program(*command, "exec", running, TRUE)
        ours = lambda: container.exec([TRUE], capture_output=False, check=True)  # noqa: E731 - one line each
        rows.append(compare(f"exec {TRUE}", ours, f"{name} exec", theirs, pairs=PAIRS, aim=exec_aim))
    rows.append(_delete(runtime, bundle, command, names, delete_aim))
    return rows


def _delete(
    runtime: Runtime, bundle: Bundle, command: list[str], names: Iterator[str], aim: float | None
) -> Comparison:
    """End and remove a running container; each side has one before each sample."""
    with ExitStack() as stack:
        mine: list[Container] = []
        other: list[str] = []

        def ready() -> None:
            if not mine:
                mine.append(stack.enter_context(runtime.create(next(names), _sleeping(bundle))))
                mine[0].start()
            if not other:
                other.append(stack.enter_context(_running(command, bundle, next(names))))

        def theirs() -> None:
            program(*command, "delete", "--force", other.pop())()

        return compare(
            "delete, running",
            lambda: mine.pop().delete(force=True),
            f"{command[0]} delete --force",
            theirs,
            pairs=PAIRS,
            aim=aim,
            before=ready,
        )


@contextmanager
def _running(command: list[str], bundle: Bundle, name: str) -> Iterator[str]:
    """A running container of the peer; removed at the end."""
    copy = bundle.path.with_name(f"bundle-{name}")
    sleeping = _sleeping(bundle)
    Bundle.create(copy, attrs.evolve(sleeping.spec, root=Root(path=str(bundle.rootfs))))
    null = subprocess.DEVNULL
    try:
        subprocess.run(
            [*command, "run", "--detach", "--bundle", copy, name],
            stdin=null,
            stdout=null,
            stderr=null,
            check=True,
        )
        yield name
    finally:
        subprocess.run(
            [*command, "delete", "--force", name], stdin=null, stdout=null, stderr=null, check=False
        )


if __name__ == "__main__":
    main()
