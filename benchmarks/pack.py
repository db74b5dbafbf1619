"""Making layers: ``repack`` against ``umoci repack``, appending an archive against ``crane append``.

The image is the application image of :mod:`benchmarks._debian`. Of its unpacked tree every hundredth file is changed,
every hundredth deleted, and one directory copied; both sides pack that again, into the layout. Appending takes the
uncompressed archive of the first layer, compresses it, and writes the image to a file: once at our default level,
which takes longer and gives smaller layers than crane's, and once at level 1, as crane does. The sizes are printed.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks._debian import layout_with
from benchmarks._measure import Comparison, compare, program, report
from ociworks import testing
from ociworks.image import Layer, LayerOptions, archive, layout, mutate, repack
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
            rows.extend(_append(place))
        report("pack", rows)


def _repack(place: Path) -> Comparison:
    store, bundle = place / "store", place / "bundle"
    shutil.copytree(layout_with("app", "gzip"), store, ignore=shutil.ignore_patterns(".ociworks"))
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


def _append(place: Path) -> Iterator[Comparison]:
    tar, mine, other = place / "layer.tar", place / "ours.tar", place / "theirs.tar"
    with (
        layout.open(layout_with("app", "gzip")) as store,
        store.image("app").layers[0].uncompressed() as stream,
        tar.open("xb") as file,
    ):
        copy(stream, file.write)
    base = testing.random_image(layers=1)
    theirs = program("crane", "append", "--oci-empty-base", "-f", tar, "-t", "bench:1", "-o", other)
    for level in (None, 1):
        options = LayerOptions(level=level)

        def ours(options: LayerOptions = options) -> None:
            img = mutate.append(base, Layer.from_tar(tar, compression="gzip", options=options))
            archive.write(mine, img, "bench:1", format="docker")

        work = f"append, level {level}" if level else "append"
        yield compare(work, ours, "crane append", theirs, aim=1.0 if level else None, pairs=PAIRS)
        sizes = [path.stat().st_size >> 20 for path in (mine, other)]
        print(f"{work}: {sizes[0]} MiB by ociworks, {sizes[1]} MiB by crane")


if __name__ == "__main__":
    main()
