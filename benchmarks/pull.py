"""Pulling from a registry on loopback into an OCI layout, against skopeo and crane; and asking what an image is.

The images are those of ``_debian``: a base of one layer, an application of five, packed by gzip and by zstd. The
registry is ours, in a process of its own, and the same for all. Ours makes each blob durable (fsync) before it gets its
name, which the peers do not. It is measured as a library; the rows with a new interpreter start one for each pull.
Pulling again what is there already asks the registry and hashes nothing.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks._debian import Name, Packing, layout_with
from benchmarks._measure import Comparison, Work, compare, program, report
from ociworks.image import layout, remote
from ociworks.image.auth import ANONYMOUS

IMAGES: tuple[tuple[Name, Packing], ...] = (
    ("base", "gzip"),
    ("base", "zstd"),
    ("app", "gzip"),
    ("app", "zstd"),
)
PAIRS = 7

SERVE = """
import sys
from ociworks import testing
with testing.Registry() as registry:
    print(registry.host, flush=True)
    sys.stdin.read()
"""
PULL = """
import sys
from ociworks.image import layout, remote
from ociworks.image.auth import ANONYMOUS
with remote.Client(keychain=ANONYMOUS) as client, layout.open(sys.argv[2], create=True) as store:
    store.put(client.image(sys.argv[1]), tag="app")
"""


@contextmanager
def registry() -> Iterator[str]:
    """A registry in a process of its own; gives its ``host:port``."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdout is None or process.stdin is None:
            raise SystemExit("no pipes to the registry")
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


class Pulls:
    """Every way to pull one image into a layout that is not there yet."""

    def __init__(self, name: str, folder: str) -> None:
        self._name = name
        self._folder = folder
        self._numbers = itertools.count()

    def ours(self) -> None:
        """In this process."""
        self._ours(self._fresh())

    def ours_cold(self) -> None:
        """In an interpreter of its own."""
        program(sys.executable, "-c", PULL, self._name, self._fresh())()

    def ours_again(self) -> None:
        """Into a layout that has it."""
        self._ours(os.path.join(self._folder, "again"))

    def skopeo(self) -> None:
        """By skopeo."""
        self._skopeo(self._fresh())

    def skopeo_again(self) -> None:
        """By skopeo, into a layout that has it."""
        self._skopeo(os.path.join(self._folder, "again"))

    def crane(self) -> None:
        """By crane."""
        program("crane", "pull", "--insecure", "--format=oci", self._name, self._fresh())()

    def _fresh(self) -> str:
        shutil.rmtree(os.path.join(self._folder, "fresh"), ignore_errors=True)
        os.mkdir(os.path.join(self._folder, "fresh"))
        return os.path.join(self._folder, "fresh", str(next(self._numbers)))

    def _ours(self, place: str) -> None:
        with remote.Client(keychain=ANONYMOUS) as client, layout.open(place, create=True) as store:
            store.put(client.image(self._name), tag="app")

    def _skopeo(self, place: str) -> None:
        arguments = ("--insecure-policy", "copy", "-q", "--src-tls-verify=false")
        program("skopeo", *arguments, f"docker://{self._name}", f"oci:{place}:app")()


def comparisons(host: str, folder: str) -> Iterator[Comparison]:
    """Every image against every peer that is here; then again, and questions, on the base."""
    peers = [peer for peer in ("skopeo", "crane") if shutil.which(peer)]
    for image, packing in IMAGES:
        name, what = f"{host}/{image}:{packing}", f"{image}, {packing}"
        with remote.Client(keychain=ANONYMOUS) as client, layout.open(layout_with(image, packing)) as store:
            client.push(store.image("app"), name)
        pulls = Pulls(name, folder)
        for peer in peers:
            theirs: Work = pulls.skopeo if peer == "skopeo" else pulls.crane
            yield compare(f"pull {what}", pulls.ours, peer, theirs, pairs=PAIRS, aim=1.0)
        if peers and image == "app":
            yield compare(
                f"pull {what}, new interpreter", pulls.ours_cold, "skopeo", pulls.skopeo, pairs=PAIRS
            )
    base = f"{host}/base:gzip"
    if "skopeo" in peers:
        pulls = Pulls(base, folder)
        yield compare("pull base again", pulls.ours_again, "skopeo", pulls.skopeo_again, pairs=PAIRS, aim=1.0)
    if "crane" in peers:
        asked = program("crane", "config", "--insecure", base)
        command = program(sys.executable, "-m", "ociworks", "inspect", "--json", base)
        yield compare("inspect", lambda: inspect(base), "crane config", asked, pairs=PAIRS, aim=1.0)
        yield compare("inspect, command", command, "crane config", asked, pairs=PAIRS)


def inspect(name: str) -> None:
    """The manifest and the configuration of an image, by a client of its own."""
    with remote.Client(keychain=ANONYMOUS) as client:
        client.image(name)


def main() -> None:
    """Print the ratios."""
    if not (shutil.which("skopeo") or shutil.which("crane")):
        print("pull: neither skopeo nor crane is installed, nothing to compare with")
        return
    with registry() as host, tempfile.TemporaryDirectory() as folder:
        report("pull", comparisons(host, folder))


if __name__ == "__main__":
    main()
