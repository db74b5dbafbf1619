"""Running ``/bin/true`` in a container, from Python, against runc's command line with the same bundle.

The bundle is busybox with the default profile: six new namespaces, control groups with device rules, the default
capabilities, seccomp filter, masked and read-only paths. ``run`` makes a container, runs the program to its end and
removes everything; ``exec`` runs it in a container that is there. On our side the caller and its launcher are warm, as
they are in any program that runs more than one container; runc is a program that starts each time, as its users start
it. crun, where it works on this host, is measured in the same way.
"""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from benchmarks._measure import Comparison, compare, program, report
from examples.programs import BUSYBOX, is_static
from ociworks.runtime import Container, Runtime
from ociworks.spec import Bundle
from ociworks.spec.defaults import default_spec
from ociworks.spec.runtime import Root

AIM = 0.2
PAIRS = 25
TRUE = "/bin/true"


def main() -> None:
    """Print the table."""
    missing = _missing()
    if missing:
        print(f"## runtime: left out, {missing}\n")
        return
    with tempfile.TemporaryDirectory(prefix="ociworks-bench-") as folder:
        bundle = _bundle(Path(folder))
        with (
            Runtime(Path(folder, "ours")) as runtime,
            runtime.create("bench", _sleeping(bundle)) as container,
        ):
            container.start()
            rows = []
            for name, aim in (("runc", AIM), ("crun", None)):
                rows += _compare(runtime, container, bundle, name, Path(folder, name), aim)
    report("runtime", rows)


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


def _compare(
    runtime: Runtime, container: Container, bundle: Bundle, name: str, folder: Path, aim: float | None
) -> list[Comparison]:
    """Both rows against one peer; none, with a line that says why, when the peer does not work here."""
    peer = shutil.which(name)
    if peer is None:
        print(f"# {name} is not installed")
        return []
    command = [peer, "--root", str(folder)]
    probe = subprocess.run(
        [*command, "run", "--bundle", bundle.path, f"probe-{secrets.token_hex(4)}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if probe.returncode:
        print(f"# {name} does not run here: {probe.stderr.strip().splitlines()[-1]}")
        return []
    names = (f"bench-{os.getpid()}-{number}" for number in itertools.count())

    def run() -> None:
        program(*command, "run", "--bundle", bundle.path, next(names))()

    rows = [
        compare(
            f"run {TRUE}",
            lambda: runtime.run(bundle, [TRUE], check=True),
            f"{name} run",
            run,
            pairs=PAIRS,
            aim=aim,
        )
    ]
    with _running(command, bundle, next(names)) as running:
        theirs = program(*command, "exec", running, TRUE)
        ours = lambda: container.exec([TRUE], capture_output=False, check=True)  # noqa: E731 - one line each
        rows.append(compare(f"exec {TRUE}", ours, f"{name} exec", theirs, pairs=PAIRS, aim=aim))
    return rows


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
