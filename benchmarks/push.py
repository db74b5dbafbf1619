"""Pushing and inspecting, against crane.

Ours is measured as a library, in this process, because that is how it is used where time matters; the last row is the
command, which starts an interpreter. The registry is ours, in a process of its own, and the same for
both sides; each push goes to a repository that was not there before. The image is ``base`` of ``_debian``.
"""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks._debian import layout_with
from benchmarks._measure import Comparison, compare, program, report
from ociworks.image import layout, remote
from ociworks.image.auth import ANONYMOUS

PAIRS = 7


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A registry in a process of its own; gives its ``host:port``."""
    serve = [sys.executable, "-m", "ociworks", "registry", "serve", "-q", "--listen", "127.0.0.1:0"]
    with subprocess.Popen([*serve, "--dir", folder], stdout=subprocess.PIPE, text=True) as process:
        found = re.search(r"http://(\S+)", process.stdout.readline() if process.stdout else "")
        try:
            if found is None:
                raise SystemExit("the registry does not start")
            yield found[1]
        finally:
            process.terminate()


def against_crane(folder: Path) -> Iterator[Comparison]:
    """Push, inspect."""
    place, numbers = layout_with("base", "gzip"), itertools.count()
    plain = folder / "plain"  # crane pushes only a layout that has one entry and nothing else
    shutil.copytree(place, plain)
    insecure = ("--insecure",)
    with (
        registry(folder / "registry") as host,
        remote.Client(keychain=ANONYMOUS) as client,
        layout.open(place) as images,
    ):
        image = images.image("app")
        base = f"{host}/base:1"
        client.push(image, base)

        def push() -> None:
            client.push(image, f"{host}/push{next(numbers)}:1")

        def crane_push() -> None:
            program("crane", "push", *insecure, plain, f"{host}/push{next(numbers)}:1")()

        def inspect() -> None:
            with remote.Client(keychain=ANONYMOUS) as fresh:
                fresh.image(base)

        command = program(sys.executable, "-m", "ociworks", "inspect", "--json", base)
        yield compare("push 116 MB, library", push, "crane push", crane_push, pairs=PAIRS, aim=1.0)
        crane_config = program("crane", "config", *insecure, base)
        yield compare("inspect, library", inspect, "crane config", crane_config, pairs=PAIRS, aim=1.0)
        yield compare("inspect, command", command, "crane config", crane_config, pairs=PAIRS)


def main() -> None:
    """Print the ratios."""
    if shutil.which("crane") is None:
        print("push: crane is not installed, nothing to compare with")
        return
    with tempfile.TemporaryDirectory() as name:
        report("push", against_crane(Path(name)))


if __name__ == "__main__":
    main()
