"""An image of one static program, and nothing else.

::

    python minimal.py ./server registry.example/server:1 oci:layout:1 …

The same program gives the same digest, whoever makes the image, wherever and whenever.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ociworks
from ociworks.image import File, Image, Layer, mutate


def minimal(program: Path) -> Image:
    """The program as ``/app``, run as an ordinary user, with the few files that programs look for."""
    layer = Layer.from_files(
        {
            "app": File(program.read_bytes(), mode=0o755),
            "etc/passwd": b"root:x:0:0::/:/\napp:x:10001:10001::/:/\n",
            "etc/group": b"root:x:0:\napp:x:10001:\n",
            "tmp/": File(mode=0o1777),
        }
    )
    changes = mutate.Changes(entrypoint=("/app",), user="app", working_dir="/")
    return mutate.config(mutate.append(mutate.scratch(), layer), changes)


def main(program: str, *places: str) -> None:
    """Make it, and bring it to each place."""
    image = minimal(Path(program))
    for place in places:
        print(ociworks.copy(image, place).digest, place)


if __name__ == "__main__":
    main(*sys.argv[1:])
