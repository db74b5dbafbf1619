"""The oracle itself: a good image has no problems, and each kind of damage is found, all at once."""

from __future__ import annotations

import gzip

import pytest
from attrs import evolve

from ociworks import testing
from ociworks.errors import InvalidImage, RegistryUnreachable
from ociworks.image import Image, Limits, mutate, partial, validate
from ociworks.image.memory import MemoryBlobs
from ociworks.image.types import ByteStream
from ociworks.spec import Digest, Platform, to_json
from ociworks.spec.image import (
    EMPTY,
    Config,
    Descriptor,
    History,
    ImageConfiguration,
    Index,
    Manifest,
    RootFS,
    mediatypes,
)
from ociworks.testing.images import Compression
from tests.image import archives
from tests.image.mutate.images import LayerBlobs, NoBlobs, with_config, with_manifest


def image_of(blob: bytes, tar: bytes, media_type: str = mediatypes.OCI_LAYER_GZIP) -> Image:
    """An image whose layer travels as ``blob`` and says that it is ``tar``."""
    blobs = MemoryBlobs()
    config = to_json(
        ImageConfiguration(architecture="amd64", os="linux", rootfs=RootFS(diff_ids=(Digest.of(tar),)))
    )
    manifest = Manifest(
        media_type=mediatypes.OCI_MANIFEST,
        config=blobs.add(config, mediatypes.OCI_CONFIG),
        layers=(blobs.add(blob, media_type),),
    )
    return partial.image(to_json(manifest), config, blobs)


def found(img: Image, *, fast: bool = False) -> list[str]:
    return [problem.path for problem in validate.image(img, fast=fast).problems]


def tar_of(img: Image) -> bytes:
    with img.layers[0].uncompressed() as stream:
        return stream.read()


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_good_images(compression: Compression) -> None:
    report = validate.image(testing.random_image(compression=compression))
    report.raise_if_failed()
    assert report.ok
    assert str(report).endswith("no problems")


def test_all_problems_are_found_at_once() -> None:
    img = with_config(
        testing.random_image(),
        lambda config: evolve(config, created="never", config=Config(user=":::"), history=(History(),)),
    )
    report = validate.image(img)
    assert [problem.path for problem in report.problems] == [
        "config.created",
        "config.history",
        "config.config.User",
    ]
    with pytest.raises(InvalidImage, match="3 problems") as raised:
        report.raise_if_failed()
    assert raised.value.problems == report.problems


def test_a_damaged_layer() -> None:
    class Damaged(LayerBlobs):
        def open_blob(self, descriptor: Descriptor, /) -> ByteStream:
            with super().open_blob(descriptor) as stream:
                content = bytearray(stream.read())
            content[-20] ^= 1
            return partial.stream_of(bytes(content), descriptor)

    good = testing.random_image(layers=2, compression="none")
    img = partial.image(good.raw_manifest, good.raw_config, Damaged(good))
    assert found(img) == ["layers[0]", "layers[1]"]
    assert found(img, fast=True) == []


def test_a_missing_layer() -> None:
    good = testing.random_image(layers=2)
    img = partial.image(good.raw_manifest, good.raw_config, NoBlobs())
    assert found(img) == ["layers[0]", "layers[1]"]


def test_a_layer_that_only_others_may_give_out() -> None:
    good = testing.random_image(layers=1)
    manifest = evolve(
        good.manifest,
        layers=(evolve(good.manifest.layers[0], media_type=mediatypes.OCI_NONDISTRIBUTABLE_LAYER_GZIP),),
    )
    assert found(partial.image(to_json(manifest), good.raw_config, NoBlobs())) == []


def test_another_diff_id() -> None:
    tar = tar_of(testing.random_image(layers=1))
    img = image_of(gzip.compress(tar, mtime=0), b"something else")
    (problem,) = validate.image(img).problems
    assert problem.path == "layers[0]"
    assert f"got {Digest.of(tar)}" in problem.message


def test_an_uncompressed_layer_that_is_not_its_diff_id() -> None:
    """This one is seen without reading anything."""
    tar = tar_of(testing.random_image(layers=1))
    img = image_of(tar, b"something else", mediatypes.OCI_LAYER)
    assert found(img, fast=True) == ["manifest.layers[0].digest"]


def test_what_is_not_the_compression_that_it_says() -> None:
    tar = tar_of(testing.random_image(layers=1))
    assert found(image_of(tar, tar)) == ["layers[0]"]


def test_what_is_no_archive() -> None:
    for content in (b"", b"x" * 10240, tar_of(testing.random_image(layers=1))[:1024]):
        assert found(image_of(gzip.compress(content), content)) == ["layers[0]"]


def test_a_whiteout_that_is_none() -> None:
    odd = testing.image_from_files({".wh.gone": b"content"})
    (problem,) = validate.image(odd).problems
    assert "whiteout" in problem.message


@pytest.mark.parametrize(
    "layers",
    [
        [archives.layer(archives.hardlink(b"a", b"nowhere"))],
        [archives.layer(archives.file(b"a")), archives.layer(archives.file(b"a/b"))],
        [archives.layer(archives.symlink(b"a", b"nowhere")), archives.layer(archives.file(b"a/b"))],
    ],
)
def test_layers_that_do_not_come_together(layers: list[bytes]) -> None:
    """Each archive can be read, but nobody can unpack them one on the other."""
    img = testing.image_from_layers(layers)
    (problem,) = validate.image(img).problems
    assert problem.path == f"layers[{len(layers) - 1}]"
    assert "cannot be unpacked" in problem.message
    assert found(img, fast=True) == []


def test_bounds_are_problems_too() -> None:
    img = testing.random_image(layers=1)
    tight = validate.image(img, limits=Limits(entries_per_layer=1))
    assert ["entries_per_layer" in problem.message for problem in tight.problems] == [True]
    small = validate.image(img, limits=Limits(unpacked_bytes_per_layer=1024))
    assert ["unpacked_bytes_per_layer" in problem.message for problem in small.problems] == [True]


def test_one_blob_under_two_sizes() -> None:
    good = testing.random_image(layers=1)
    img = mutate.append(good, good.layers[0])
    assert found(img) == []
    lying = with_manifest(
        img, lambda value: evolve(value, layers=(value.layers[0], evolve(value.layers[1], size=7)))
    )
    assert found(lying, fast=True) == ["layers[1]"]


def test_a_registry_that_is_down_is_no_problem_of_the_image() -> None:
    class Down:
        def open_blob(self, descriptor: Descriptor, /) -> ByteStream:
            raise RegistryUnreachable("no answer")

    good = testing.random_image()
    with pytest.raises(RegistryUnreachable):
        validate.image(partial.image(good.raw_manifest, good.raw_config, Down()))


def test_artifacts() -> None:
    blobs = MemoryBlobs()
    manifest = Manifest(
        media_type=mediatypes.OCI_MANIFEST,
        artifact_type="application/x",
        config=EMPTY,
        layers=(blobs.add(b"anything", "text/plain"),),
    )
    img = partial.image(to_json(manifest), b"{}", blobs)
    assert found(img) == []
    assert found(partial.image(to_json(manifest), b"{}", NoBlobs())) == ["layers[0]"]


def test_good_indexes() -> None:
    validate.index(testing.random_index()).raise_if_failed()
    nested = mutate.index([testing.random_index(), testing.random_image(platform="linux/s390x")])
    validate.index(nested).raise_if_failed()


def test_problems_inside_an_index_say_where() -> None:
    bad = with_config(testing.random_image(), lambda config: evolve(config, created="never"))
    idx = mutate.index([mutate.index([bad])])
    (problem,) = validate.index(idx, fast=True).problems
    assert problem.path == "index.manifests[0].index.manifests[0].config.created"


def test_an_index_that_lies() -> None:
    """Another platform than the image's, and an entry whose document is not there."""
    img = testing.random_image(1, platform="linux/amd64")
    blobs = MemoryBlobs()
    blobs.add(img.raw_config, mediatypes.OCI_CONFIG)
    entry = blobs.add(img.raw_manifest, mediatypes.OCI_MANIFEST)
    missing = Descriptor.of(b"{}", mediatypes.OCI_MANIFEST)
    raw = to_json(
        Index(
            media_type=mediatypes.OCI_INDEX,
            manifests=(evolve(entry, platform=Platform.parse("linux/arm64")), missing),
        )
    )
    report = validate.index(partial.index(raw, blobs), fast=True)
    assert [problem.path for problem in report.problems] == [
        "index.manifests[0].platform",
        "index.manifests[1]",
    ]


def test_indexes_nested_without_end() -> None:
    idx = testing.random_index(("linux/amd64",))
    for _ in range(5):
        idx = mutate.index([idx])
    assert any("nested deeper" in problem.message for problem in validate.index(idx, fast=True).problems)
