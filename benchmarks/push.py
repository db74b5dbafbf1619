"""Pushing an image of a few layers from an OCI layout to a registry on loopback: in this process against crane.

The registry is ``testing.Registry`` in a process of its own; what was pushed is deleted after each sample. Ours hashes
what it sends; crane does not. ``BENCH_PULL_MIB`` is the size of each layer.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile

from benchmarks._measure import compare, program, report
from benchmarks.pull import LAYER_SIZE, LAYERS, registry
from ociworks import testing
from ociworks.image import layout, remote
from ociworks.image.auth import ANONYMOUS

PUSH = """
import sys
from ociworks.image import layout, remote
from ociworks.image.auth import ANONYMOUS
with remote.Client(keychain=ANONYMOUS) as client, layout.open(sys.argv[2]) as store:
    client.push(store.image("app"), sys.argv[1])
"""


def main() -> None:
    """Print the ratios."""
    with (
        registry() as host,
        tempfile.TemporaryDirectory() as folder,
        remote.Client(keychain=ANONYMOUS) as client,
        layout.open(os.path.join(folder, "source"), create=True) as store,
    ):
        image = store.put(testing.random_image(LAYERS, size=LAYER_SIZE, compression="none"), tag="app")
        name = f"{host}/app:1"

        def clear() -> None:
            client.delete(f"{host}/app@{image.digest}")
            for blob in (image.manifest.config, *image.manifest.layers):
                client.delete_blob(name, blob.digest)

        def ours() -> None:
            client.push(image, name)

        def ours_cold() -> None:
            program(sys.executable, "-c", PUSH, name, store.path)()

        crane = shutil.which("crane")
        if crane is None:
            print("push: crane is not installed, nothing to compare with")
            return
        theirs = program(crane, "push", store.path, name)
        size = f"{LAYERS * LAYER_SIZE >> 20} MiB, {LAYERS} layers"
        report(
            "push",
            [
                compare(f"{size}, library", ours, "crane push", theirs, pairs=7, aim=1.0, after=clear),
                compare(f"{size}, new interpreter", ours_cold, "crane push", theirs, pairs=7, after=clear),
            ],
        )


if __name__ == "__main__":
    main()
