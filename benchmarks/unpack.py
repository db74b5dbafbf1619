"""Unpacking to a bundle, digests and diff IDs verified, against ``umoci unpack`` and against GNU tar.

The images are made of Debian packages (:mod:`benchmarks._debian`), once with gzip and once with zstd. GNU tar unpacks
the same layers one after the other, decompressed by ``igzip`` or ``zstd``, and verifies nothing: it shows how much
there is to be had. An umoci that cannot read zstd (Debian 12's) unpacks the gzip image instead, and the row says so.

All sides unpack into fresh directories of one file system, a tmpfs where there is one with room; removing them is not
part of the time. Memory is the peak of a process of its own that unpacks one layer with one file of several gibibytes:
``BENCH_MEMORY_GIB`` (2), zeros and noise.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks._debian import Name, Packing, layout_with
from benchmarks._measure import Comparison, Work, compare, program, report
from ociworks.image import Image, layout, unpack

UMOCI_AIM: Final[dict[Packing, float]] = {"gzip": 0.45, "zstd": 0.35}
TAR_AIM: Final = 2.0
DECODERS: Final[dict[Packing, str]] = {"gzip": "igzip -dc", "zstd": "zstd -dcq"}
PAIRS: Final = 7
ROOM: Final = 4 << 30
MEMORY_GIB: Final = float(os.environ.get("BENCH_MEMORY_GIB", "2"))
MEMORY_AIM_MB: Final = 100
KINDS: Final[dict[str, str]] = {
    "zeros": "bytes(1 << 20)",
    "noise": "random.Random(number).randbytes(1 << 20)",
}

WRITE = """
import random, sys, tarfile
mebibytes = int(sys.argv[1])
class Endless:
    def __init__(self): self.number, self.rest = 0, b""
    def read(self, size):
        while len(self.rest) < size:
            number = self.number = self.number + 1
            self.rest += {piece}
        data, self.rest = self.rest[:size], self.rest[size:]
        return data
info = tarfile.TarInfo("big")
info.size = mebibytes << 20
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
    archive.addfile(info, Endless())
"""
PEAK = """
import sys
from ociworks.image import layout, unpack
with layout.open(sys.argv[1]) as store:
    unpack(store.image("app"), sys.argv[2])
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def main() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory(prefix="ociworks-bench-", dir=_roomy()) as folder:
        place = Path(folder) / "place"
        rows = [
            row for packing in DECODERS for name in ("app", "base") for row in _rows(name, packing, place)
        ]
        report("unpack", rows)
        _report_memory(Path(folder))


def _roomy() -> str | None:
    """A tmpfs when one has room, so that a disk's moods stay out of the ratios."""
    shared = "/dev/shm"
    try:
        free = os.statvfs(shared)
    except OSError:
        return None
    return shared if free.f_bavail * free.f_frsize > ROOM and os.access(shared, os.W_OK) else None


def _rows(name: Name, packing: Packing, place: Path) -> Iterator[Comparison]:
    source = layout_with(name, packing)
    work = f"unpack {name}, {packing}"

    def after() -> None:
        shutil.rmtree(place)

    with layout.open(source) as store:
        img = store.image("app")

        def ours() -> None:
            unpack(img, place)

        found = _umoci(name, packing, place)
        if found is not None:
            peer, theirs = found
            aim = UMOCI_AIM[packing]
            yield compare(work, ours, peer, theirs, pairs=PAIRS, aim=aim, after=after)
        decoder = DECODERS[packing]
        if shutil.which(decoder.split()[0]):
            theirs = _tar(img, source, decoder, place)
            yield compare(work, ours, f"GNU tar, {decoder}", theirs, pairs=PAIRS, aim=TAR_AIM, after=after)


def _umoci(name: Name, packing: Packing, place: Path) -> tuple[str, Work] | None:
    umoci = shutil.which("umoci")
    if umoci is None:
        print("umoci is not installed: nothing to compare with")
        return None
    rootless = ["--rootless"] if os.geteuid() else []

    def command(chosen: Packing) -> list[str]:
        return [umoci, "unpack", *rootless, "--image", f"{layout_with(name, chosen)}:app", str(place)]

    peer = "umoci unpack"
    if packing == "zstd" and not _succeeds(command("zstd"), place):
        packing, peer = "gzip", "umoci unpack, gzip"
    return peer, program(*command(packing))


def _succeeds(command: list[str], place: Path) -> bool:
    done = subprocess.run(command, capture_output=True, check=False)
    shutil.rmtree(place, ignore_errors=True)
    return done.returncode == 0


def _tar(img: Image, source: Path, decoder: str, place: Path) -> Work:
    blobs = [source / "blobs" / layer.digest.algorithm / layer.digest.encoded for layer in img.layers]
    steps = [f"{decoder} < {blob} | tar --numeric-owner -xpf - -C {place}" for blob in blobs]
    shell = program("bash", "-o", "pipefail", "-ec", "; ".join(steps))

    def run() -> None:
        place.mkdir()
        shell()

    return run


def _report_memory(folder: Path) -> None:
    size = f"{MEMORY_GIB:g} GiB"
    print(f"## peak memory of a process that unpacks one layer of {size}: aim ≤ {MEMORY_AIM_MB} MB")
    for kind in KINDS:
        for packing in DECODERS:
            peak = _peak(folder, kind, packing)
            print(
                f"  {kind}, {packing}: {peak:.0f} MB {'yes' if peak <= MEMORY_AIM_MB else 'NO'}", flush=True
            )


def _peak(folder: Path, kind: str, packing: Packing) -> float:
    """Megabytes (VmHWM; ru_maxrss would start with the parent's)."""
    with _big_layout(folder, kind, packing) as source:
        command = [sys.executable, "-c", PEAK, str(source), str(folder / "place")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        shutil.rmtree(folder / "place")
    return float(done.stdout) * 1024 / 1e6


@contextmanager
def _big_layout(folder: Path, kind: str, packing: Packing) -> Iterator[Path]:
    from benchmarks._debian import make_layout

    tar, place = folder / "big.tar", folder / "layout"
    with open(tar, "xb") as file:
        code = WRITE.format(piece=KINDS[kind])
        subprocess.run([sys.executable, "-c", code, str(int(MEMORY_GIB * 1024))], stdout=file, check=True)
    try:
        make_layout(place, [tar], packing, fast=True)
        tar.unlink()
        yield place
    finally:
        tar.unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
