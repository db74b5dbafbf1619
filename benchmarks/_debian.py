"""Images as people have them, made from Debian packages: the same on every machine with the same release.

==========  ============================================================================================
image       what is in it
==========  ============================================================================================
``base``    one layer of 116 MB
``app``     that layer and four more: 620 MB and 23,000 files together
==========  ============================================================================================

Packages come from ``apt-get download``, without being installed; where a name carries a version the first one that
the release has is taken. What was made is kept in ``$XDG_CACHE_HOME/ociworks-bench`` and taken from there the next
time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import zstandard

from ociworks.image import layout, partial
from ociworks.image.memory import MemoryBlobs
from ociworks.image.stream import VerifiedStream
from ociworks.image.types import ByteStream
from ociworks.spec import Digest, Platform, to_json
from ociworks.spec.digest import Hasher
from ociworks.spec.image import Config, Descriptor, ImageConfiguration, Manifest, RootFS, mediatypes

__all__ = ["Name", "Packing", "layout_with", "make_layout"]

Name = Literal["base", "app"]
Packing = Literal["gzip", "zstd"]

LAYERS: Final = (
    "base-files bash coreutils dpkg libc6 libc-bin locales perl-base util-linux tzdata libicu72|libicu76",
    "libpython3.11-stdlib|libpython3.13-stdlib python3-numpy python3-sympy python3-django python3-babel",
    "gcc-12|gcc-14 cpp-12|cpp-14 libgl1-mesa-dri",
    "libllvm14|libllvm19 libstdc++-12-dev|libstdc++-14-dev libc6-dev binutils",
    "git cmake cmake-data vim-runtime manpages-dev",
)
LAYERS_OF: Final[dict[Name, int]] = {"base": 1, "app": len(LAYERS)}
_MEDIA: Final[dict[Packing, str]] = {
    "gzip": mediatypes.OCI_LAYER_GZIP,
    "zstd": mediatypes.OCI_LAYER_ZSTD,
}
_READ: Final = 1 << 20


def layout_with(name: Name, packing: Packing) -> Path:
    """The path of an OCI layout in which the image has the tag ``app``; made when it is not there."""
    place = _cache() / f"{name}-{packing}"
    if not place.exists():
        print(f"making the image {name} ({packing}) from Debian packages, once", flush=True)
        with tempfile.TemporaryDirectory(dir=_cache()) as folder:
            make_layout(Path(folder) / "layout", _tars()[: LAYERS_OF[name]], packing)
            os.rename(Path(folder) / "layout", place)
    return place


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(tempfile.gettempdir(), f"cache-{os.geteuid()}")
    place = Path(home) / "ociworks-bench"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    return place


def _tars() -> list[Path]:
    """The layers as plain archives, by GNU tar."""
    place = _cache() / "layers"
    if not place.exists():
        with tempfile.TemporaryDirectory(dir=_cache()) as folder:
            done = Path(folder) / "layers"
            done.mkdir()
            for number, names in enumerate(LAYERS):
                tree = Path(folder) / f"tree{number}"
                tree.mkdir()
                for package in _packages(names.split()):
                    _run(f"dpkg-deb --fsys-tarfile {package} | tar -xpf - -C {tree}")
                order = "--sort=name --numeric-owner --format=gnu"
                _run(f"tar {order} -cf {done}/{number}.tar -C {tree} .")
            os.rename(done, place)
    return sorted(place.iterdir())


def _packages(names: Sequence[str]) -> list[Path]:
    place = _cache() / "packages"
    place.mkdir(exist_ok=True)
    found = []
    for alternatives in names:
        name = _known(alternatives.split("|"))
        if not list(place.glob(f"{name}_*.deb")):
            subprocess.run(["apt-get", "-qq", "download", name], cwd=place, check=True)
        found.append(next(place.glob(f"{name}_*.deb")))
    return found


def _known(alternatives: Sequence[str]) -> str:
    for name in alternatives:
        if subprocess.run(["apt-cache", "show", name], capture_output=True, check=False).returncode == 0:
            return name
    raise SystemExit(f"apt knows none of {' '.join(alternatives)}: run apt-get update")


def make_layout(place: Path, tars: Sequence[Path], packing: Packing, *, fast: bool = False) -> None:
    """An OCI layout at ``place`` with an image of these archives, tagged ``app``; ``fast`` packs less well."""
    blobs = _Files()
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        packed = [_pack(tar, Path(folder) / tar.name, packing, fast=fast) for tar in tars]
        layers = tuple(blobs.add(path, packing) for path in packed)
        host = Platform.host()
        config = ImageConfiguration(
            architecture=host.architecture,
            os=host.os,
            config=Config(cmd=("/bin/true",)),
            rootfs=RootFS(diff_ids=tuple(_digest(tar) for tar in tars)),
        )
        raw = to_json(config)
        manifest = Manifest(
            media_type=mediatypes.OCI_MANIFEST,
            config=blobs.memory.add(raw, mediatypes.OCI_CONFIG),
            layers=layers,
        )
        with layout.open(place, create=True) as store:
            store.put(partial.image(to_json(manifest), raw, blobs), tag="app")


def _pack(tar: Path, packed: Path, packing: Packing, *, fast: bool) -> Path:
    if packing == "gzip":
        _run(f"gzip -n -{1 if fast else 6} -c {tar} > {packed}")
        return packed
    with open(tar, "rb") as source, open(packed, "xb") as target:
        zstandard.ZstdCompressor(level=1 if fast else 3).copy_stream(source, target)
    return packed


def _digest(path: Path) -> Digest:
    hasher = Hasher("sha256")
    with open(path, "rb") as file:
        while data := file.read(_READ):
            hasher.update(data)
    return hasher.digest()


class _Files:
    """A source of blobs that are files."""

    def __init__(self) -> None:
        self.memory = MemoryBlobs()
        self._paths: dict[Digest, Path] = {}

    def add(self, path: Path, packing: Packing) -> Descriptor:
        digest = _digest(path)
        self._paths[digest] = path
        return Descriptor(media_type=_MEDIA[packing], digest=digest, size=path.stat().st_size)

    def open_blob(self, descriptor: Descriptor, /) -> ByteStream:
        path = self._paths.get(descriptor.digest)
        if path is None:
            return self.memory.open_blob(descriptor)
        return VerifiedStream(open(path, "rb"), descriptor)


def _run(command: str) -> None:
    """Run a pipe of a shell; the paths in it are ours."""
    shell = shutil.which("bash") or "bash"
    subprocess.run([shell, "-o", "pipefail", "-ec", command], check=True)
