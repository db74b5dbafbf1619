"""Pushing from an OCI layout to a registry on loopback, against crane.

The images are those of ``_debian``. The registry is ours, in a process of its own; what was pushed is deleted after
each sample. Ours hashes what it sends; crane does not.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks._debian import Name, Packing, layout_with
from benchmarks._measure import Comparison, compare, program, report
from benchmarks.pull import registry
from ociworks.image import layout, remote
from ociworks.image.auth import ANONYMOUS

IMAGES: tuple[tuple[Name, Packing], ...] = (("base", "gzip"), ("app", "gzip"), ("app", "zstd"))
PAIRS = 7

PUSH = """
import sys
from ociworks.image import layout, remote
from ociworks.image.auth import ANONYMOUS
with remote.Client(keychain=ANONYMOUS) as client, layout.open(sys.argv[2]) as store:
    client.push(store.image("app"), sys.argv[1])
"""


def comparisons(host: str, folder: Path) -> Iterator[Comparison]:
    """Every image, in this process; the last one in an interpreter of its own too."""
    for image, packing in IMAGES:
        place = folder / f"{image}-{packing}"
        shutil.copytree(layout_with(image, packing), place)
        yield from _one(f"{host}/app:1", place, f"{image}, {packing}")


def _one(name: str, place: Path, what: str) -> Iterator[Comparison]:
    with remote.Client(keychain=ANONYMOUS) as client, layout.open(place) as store:
        image = store.image("app")

        def clear() -> None:
            client.delete(f"{name.rpartition(':')[0]}@{image.digest}")
            for blob in {each.digest for each in (image.manifest.config, *image.manifest.layers)}:
                client.delete_blob(name, blob)

        def ours() -> None:
            client.push(image, name)

        cold = program(sys.executable, "-c", PUSH, name, place)
        theirs = program("crane", "push", "--insecure", place, name)
        yield compare(f"push {what}", ours, "crane", theirs, pairs=PAIRS, aim=1.0, after=clear)
        if what.startswith("app"):
            yield compare(f"push {what}, new interpreter", cold, "crane", theirs, pairs=PAIRS, after=clear)


def main() -> None:
    """Print the ratios."""
    if shutil.which("crane") is None:
        print("push: crane is not installed, nothing to compare with")
        return
    with registry() as host, tempfile.TemporaryDirectory() as folder:
        report("push", comparisons(host, Path(folder)))


if __name__ == "__main__":
    main()
