"""Pulling an image of a few layers from a registry on loopback into an OCI layout: against skopeo and crane.

The registry is ``testing.Registry`` in a process of its own; all read from it. Ours makes each blob durable (fsync)
before it gets its name, which the peers do not. It is measured as a library, and as a program that starts a fresh
interpreter; and pulling again what is there already, which asks the registry and hashes nothing.
``BENCH_PULL_MIB`` is the size of each layer.
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

from benchmarks._measure import compare, program, report
from ociworks import testing
from ociworks.image import layout, remote
from ociworks.image.auth import ANONYMOUS

LAYERS = 5
LAYER_SIZE = int(os.environ.get("BENCH_PULL_MIB", "50")) * 1024 * 1024

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


def main() -> None:
    """Print the ratios."""
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        print("pull: skopeo is not installed, nothing to compare with")
        return
    with registry() as host, tempfile.TemporaryDirectory() as folder:
        name = f"{host}/app:1"
        with remote.Client(keychain=ANONYMOUS) as client:
            client.push(testing.random_image(LAYERS, size=LAYER_SIZE, compression="none"), name)
        numbers = itertools.count()

        def fresh() -> str:
            shutil.rmtree(os.path.join(folder, "fresh"), ignore_errors=True)
            os.mkdir(os.path.join(folder, "fresh"))
            return os.path.join(folder, "fresh", str(next(numbers)))

        def ours() -> None:
            with remote.Client(keychain=ANONYMOUS) as client, layout.open(fresh(), create=True) as store:
                store.put(client.image(name), tag="app")

        def ours_cold() -> None:
            program(sys.executable, "-c", PULL, name, fresh())()

        def theirs() -> None:
            arguments = ("--insecure-policy", "copy", "-q", "--src-tls-verify=false")
            program(skopeo, *arguments, f"docker://{name}", f"oci:{fresh()}:app")()

        def crane() -> None:
            program("crane", "pull", "--insecure", "--format=oci", name, fresh())()

        again = os.path.join(folder, "again")

        def ours_again() -> None:
            with remote.Client(keychain=ANONYMOUS) as client, layout.open(again, create=True) as store:
                store.put(client.image(name), tag="app")

        def theirs_again() -> None:
            arguments = ("--insecure-policy", "copy", "-q", "--src-tls-verify=false")
            program(skopeo, *arguments, f"docker://{name}", f"oci:{again}:app")()

        size = f"{LAYERS * LAYER_SIZE >> 20} MiB, {LAYERS} layers"
        report(
            "pull",
            [
                compare(f"{size}, library", ours, "skopeo copy", theirs, pairs=7, aim=0.8),
                compare(f"{size}, new interpreter", ours_cold, "skopeo copy", theirs, pairs=7, aim=1.0),
                *(
                    [compare(f"{size}, library", ours, "crane pull", crane, pairs=7, aim=1.0)]
                    if shutil.which("crane")
                    else []
                ),
                compare("again, library", ours_again, "skopeo copy", theirs_again, pairs=7, aim=1.0),
            ],
        )


if __name__ == "__main__":
    main()
