"""Making layers: ``repack`` against ``umoci repack``, appending an archive against ``crane append``.

The image is the application image of :mod:`benchmarks._debian`. Of its unpacked tree every hundredth file is changed,
every hundredth deleted, and one directory copied; both sides pack that again, into the layout. Appending takes the
uncompressed archive of the image's first layer, compresses it, and writes the image to a file; crane compresses at its
own level, so the sizes of both results are printed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from benchmarks._debian import layout_with
from benchmarks._measure import Comparison, compare, program, report
from ociworks import testing
from ociworks.image import Image, Layer, archive, layout, mutate, repack
from ociworks.image.stream import copy

PAIRS: Final = 5


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="ociworks-bench-") as folder:
        place = Path(folder)
        rows: list[Comparison] = []
        if shutil.which("umoci"):
            rows.append(_repack(place))
        if shutil.which("crane"):
            rows.append(_append(place))
        report("pack", rows)


def _repack(place: Path) -> Comparison:
    store, bundle = place / "store", place / "bundle"
    shutil.copytree(layout_with("app", "gzip"), store)
    subprocess.run(["umoci", "unpack", "--image", f"{store}:app", bundle], check=True, capture_output=True)
    _change(bundle / "rootfs")

    def ours() -> None:
        with layout.open(store) as opened:
            img = opened.image("app")
            opened.put(mutate.append(img, repack(img, bundle)), tag="ours")

    theirs = program("umoci", "repack", "--image", f"{store}:theirs", bundle)
    return compare("repack", ours, "umoci repack", theirs, aim=1.0, pairs=PAIRS)


def _change(root: Path) -> None:
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    for path in files[::100]:
        with path.open("ab") as file:
            file.write(b"changed")
    for path in files[50::100]:
        path.unlink()
    shutil.copytree(root / "usr/lib/python3", root / "opt/copied", symlinks=True)


def _append(place: Path) -> Comparison:
    tar, mine, other = place / "layer.tar", place / "ours.tar", place / "theirs.tar"
    with (
        layout.open(layout_with("app", "gzip")) as store,
        store.image("app").layers[0].uncompressed() as stream,
        tar.open("xb") as file,
    ):
        copy(stream, file.write)
    base = testing.random_image(layers=1)

    def ours() -> None:
        img: Image = mutate.append(base, Layer.from_tar(tar, compression="gzip"))
        archive.write(mine, img, "bench:1", format="docker")

    theirs = program("crane", "append", "--oci-empty-base", "-f", tar, "-t", "bench:1", "-o", other)
    row = compare("append", ours, "crane append", theirs, aim=1.0, pairs=PAIRS)
    print(
        f"append: {os.stat(mine).st_size >> 20} MiB by ociworks, {os.stat(other).st_size >> 20} MiB by crane"
    )
    return row


if __name__ == "__main__":
    main()
