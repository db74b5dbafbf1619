"""Unpacking an image to a bundle, diff IDs verified, against ``umoci unpack`` of the same layout.

The image is made here: three layers with 3,000 files and 60 MB that compress about as well as programs do. Both sides
unpack into fresh directories of one file system; removing them is not part of the time.
"""

from __future__ import annotations

import io
import itertools
import os
import random
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks._measure import Comparison, Work, compare, program, report
from ociworks.image import Image, layout, unpack
from ociworks.spec.image import Config
from ociworks.testing.images import Compression, image_from_layers

FILES = 3000
SIZE = 60_000_000
LAYERS = 3
UMOCI_AIM = 0.45


def main() -> None:
    """Print the table."""
    umoci = shutil.which("umoci")
    if umoci is None:
        print("## unpack: left out, umoci is not installed\n")
        return
    rootless = ["--rootless"] if os.geteuid() else []
    with tempfile.TemporaryDirectory(prefix="ociworks-bench-") as folder, _image(Path(folder), "gzip") as img:
        places = (Path(folder) / str(number) for number in itertools.count())

        def theirs() -> None:
            image = f"{folder}/layout:gzip"
            program(umoci, "unpack", *rootless, "--image", image, next(places))()

        report("unpack", [_compare("unpack 60 MB, 3,000 files, gzip", img, places, theirs)])


def _compare(work: str, img: Image, places: Iterator[Path], theirs: Work) -> Comparison:
    def ours() -> None:
        unpack(img, next(places))

    return compare(work, ours, "umoci unpack", theirs, pairs=7, aim=UMOCI_AIM)


@contextmanager
def _image(folder: Path, compression: Compression) -> Iterator[Image]:
    """The image, in a layout that both sides read."""
    config = Config(cmd=("/bin/true",))
    with layout.open(folder / "layout", create=True) as store:
        layers = [_layer(number) for number in range(LAYERS)]
        store.put(image_from_layers(layers, config=config, compression=compression), tag=compression)
        yield store.image(compression)


def _layer(number: int) -> bytes:
    """A third of the files, in a hundred directories, of sizes as they are in a distribution: many small, few large."""
    chance = random.Random(number)  # noqa: S311  # content, not secrets
    words = [chance.randbytes(chance.randint(3, 12)) for _ in range(4000)]
    count = FILES // LAYERS
    weights = [chance.paretovariate(1.1) for _ in range(count)]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for index, weight in enumerate(weights):
            size = int(SIZE / LAYERS * weight / sum(weights))
            text = b"".join(chance.choices(words, k=size // 8 + 1))[:size]
            info = tarfile.TarInfo(f"usr/lib{number}/d{index % 100}/file{index}")
            info.size, info.mtime = len(text), 1_700_000_000
            archive.addfile(info, io.BytesIO(text))
    return buffer.getvalue()


if __name__ == "__main__":
    main()
