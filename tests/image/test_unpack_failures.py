"""Images that cannot be unpacked, or not to their end (UN-14, UN-22).

Budgets, bad layers, cancellation, processes that are killed; what is left is nothing.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from attrs import evolve

from ociworks import spec
from ociworks.errors import (
    BundleExists,
    CompressionError,
    DigestMismatch,
    ImageConfigError,
    LayerError,
    LimitExceeded,
    TarError,
)
from ociworks.image import Image, Limits, Progress, partial, remove_bundle, unpack
from ociworks.image._unpack import Budget, UnpackOptions, unpack_layer
from ociworks.image._unpack.staging import PREFIX
from ociworks.image.memory import MemoryBlobs
from ociworks.spec.image import Manifest
from ociworks.testing.images import Compression
from tests.image.archives import file, layer, listing
from tests.image.unpacking import GOOD, image


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_un_14_padding_is_streamed_and_counted(clean: Path, compression: Compression) -> None:
    bomb = layer(file(b"a")) + bytes(40_000_000)
    unpack(image(bomb, compression=compression), clean / "bundle")
    remove_bundle(clean / "bundle")
    with pytest.raises(LimitExceeded, match="unpacked_bytes_per_layer"):
        unpack(
            image(bomb, compression=compression),
            clean / "bundle",
            limits=Limits(unpacked_bytes_per_layer=10**7),
        )
    with pytest.raises(LimitExceeded, match="unpacked_bytes_per_image"):
        unpack(image(bomb, bomb, bomb), clean / "bundle", limits=Limits(unpacked_bytes_per_image=10**8))


def test_un_14_layers_one_by_one_share_a_budget(tmp_path: Path) -> None:
    img = image(*[layer(*(file(b"%d" % number) for number in range(5)))] * 3)
    limits = Limits(entries_per_image=14)
    budget, fd = Budget(limits), os.open(tmp_path, os.O_RDONLY)
    options = UnpackOptions(rootless=True, limits=limits)
    try:
        reports = [unpack_layer(found, fd, options, budget=budget) for found in img.layers[:2]]
        assert [report.entries for report in reports] == [5, 5]
        with pytest.raises(LimitExceeded, match="entries_per_image"):
            unpack_layer(img.layers[2], fd, options, budget=budget)
    finally:
        os.close(fd)


def test_un_14_entries_of_an_image(clean: Path) -> None:
    layers = [layer(*(file(b"%d" % number) for number in range(5)))] * 3
    with pytest.raises(LimitExceeded, match="entries_per_image"):
        unpack(image(*layers), clean / "bundle", limits=Limits(entries_per_image=14))


@pytest.mark.root
def test_un_14_a_full_disk_leaves_nothing(clean: Path) -> None:
    disk = clean / "bundle"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("cannot mount a tmpfs")
    try:
        with pytest.raises(LayerError, match="No space"):
            unpack(image(layer(file(b"big", bytes(5_000_000)))), disk / "b")
        assert os.listdir(disk) == []
        unpack(image(GOOD), disk / "b")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("bad", [layer(file(b"../x")), GOOD[:700], b"", layer(file(b"x"), file(b"y"))[:1200]])
def test_un_22_a_bad_layer_in_the_middle(clean: Path, bad: bytes) -> None:
    with pytest.raises(TarError):
        unpack(image(GOOD, bad, GOOD), clean / "bundle")
    assert not (clean / "bundle").exists()
    unpack(image(GOOD, GOOD, GOOD), clean / "bundle")


def retold(img: Image, *, diff_ids: tuple[spec.Digest, ...]) -> Image:
    """The same layers under a configuration with other diff IDs."""
    blobs = MemoryBlobs()
    layers = []
    for found in img.layers:
        with found.open() as stream:
            layers.append(blobs.add(stream.read(), found.media_type))
    config = evolve(img.config, rootfs=evolve(img.config.rootfs, diff_ids=diff_ids))
    raw = spec.to_json(config)
    manifest = Manifest(
        media_type=img.manifest.media_type,
        config=blobs.add(raw, img.manifest.config.media_type),
        layers=tuple(layers),
    )
    return partial.image(spec.to_json(manifest), raw, blobs)


def test_un_22_diff_ids_are_compared(clean: Path) -> None:
    img = image(GOOD, layer(file(b"y")))
    first, second = img.config.rootfs.diff_ids
    with pytest.raises(DigestMismatch):
        unpack(retold(img, diff_ids=(second, first)), clean / "bundle")


def test_un_22_diff_ids_are_counted(clean: Path) -> None:
    img = image(GOOD)
    with pytest.raises(ImageConfigError):
        unpack(retold(img, diff_ids=img.config.rootfs.diff_ids * 2), clean / "bundle")


def test_un_22_the_same_layer_twice(clean: Path) -> None:
    assert listing(unpack(image(GOOD, GOOD), clean / "bundle").rootfs) == {"x": b"1"}


class Cancelled(BaseException):
    """What a caller's progress callback may raise."""


@pytest.mark.parametrize("phase", ["start", "transfer", "done"])
def test_un_22_cancellation(clean: Path, phase: str) -> None:
    def cancel(event: Progress) -> None:
        if event.phase == phase:
            raise Cancelled

    with pytest.raises(Cancelled):
        unpack(image(layer(file(b"big", os.urandom(3_000_000)))), clean / "bundle", progress=cancel)
    assert not (clean / "bundle").exists()


def test_un_22_a_layer_that_is_read_ahead(clean: Path) -> None:
    """What is wrong with the second layer ends the unpacking of the first, at once and without a trace."""
    big = layer(*(file(b"f%d" % number, os.urandom(100_000)) for number in range(400)))
    img = image(big, GOOD, compression="none")
    first, second = img.config.rootfs.diff_ids
    seen: list[Progress] = []
    with pytest.raises(DigestMismatch):
        unpack(retold(img, diff_ids=(first, first)), clean / "bundle", progress=seen.append)
    assert second != first
    assert not (clean / "bundle").exists()
    done = [event.digest for event in seen if event.phase == "done"]
    assert img.layers[1].digest not in done


@pytest.mark.parametrize("number", [0, 1, 2])
def test_un_22_cancellation_in_any_layer(clean: Path, number: int) -> None:
    img = image(GOOD, layer(file(b"y", os.urandom(2_000_000))), layer(file(b"z")))

    def cancel(event: Progress) -> None:
        if event.digest == img.layers[number].digest and event.phase == "start":
            raise Cancelled

    with pytest.raises(Cancelled):
        unpack(img, clean / "bundle", progress=cancel)
    assert not (clean / "bundle").exists()


def test_un_22_a_reader_that_fails_early_ends_the_thread(clean: Path) -> None:
    big = layer(file(b"../x"), file(b"big", os.urandom(20_000_000)))
    with pytest.raises(TarError):
        unpack(image(big, compression="none"), clean / "bundle")


def test_un_22_content_behind_the_compressed_end(clean: Path) -> None:
    blobs = MemoryBlobs()
    img = image(GOOD)
    with img.layers[0].open() as stream:
        descriptor = blobs.add(stream.read() + b"junk", img.layers[0].media_type)
    blobs.add(img.raw_config, img.manifest.config.media_type)
    manifest = evolve(img.manifest, layers=(descriptor,))
    with pytest.raises(CompressionError):
        unpack(partial.image(spec.to_json(manifest), img.raw_config, blobs), clean / "bundle")


def test_un_22_killed_processes_leave_what_the_next_one_removes(clean: Path) -> None:
    program = textwrap.dedent(
        f"""
        import os, signal
        from ociworks.image import unpack
        from ociworks.testing.images import image_from_files
        from ociworks.spec.image import Config
        def die(event): os.kill(os.getpid(), signal.SIGKILL)
        unpack(image_from_files({{"a": b"x"}}, config=Config(cmd=("/a",))), {str(clean / "bundle")!r}, progress=die)
        """
    )
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -9
    assert [name for name in os.listdir(clean) if os.fsencode(name).startswith(PREFIX)]
    unpack(image(GOOD), clean / "bundle")
    assert os.listdir(clean) == ["bundle"]


def test_un_22_staging_in_use_stays(clean: Path) -> None:
    busy = clean / (os.fsdecode(PREFIX) + "0123456789abcdef")
    busy.mkdir(mode=0o700)
    fd = os.open(busy, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    unpack(image(GOOD), clean / "bundle")
    assert busy.exists()
    os.close(fd)
    remove_bundle(clean / "bundle")
    unpack(image(GOOD), clean / "bundle")
    assert not busy.exists()


def test_un_22_the_place_appears_meanwhile(clean: Path) -> None:
    def occupy(event: Progress) -> None:
        (clean / "bundle").mkdir(exist_ok=True, mode=0o755)

    with pytest.raises(BundleExists):
        unpack(image(GOOD), clean / "bundle", progress=occupy)
    assert os.listdir(clean / "bundle") == []
