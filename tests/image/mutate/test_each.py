"""The same change to every image of an index, and what becomes of what lies beside them."""

from __future__ import annotations

import pytest

from ociworks import testing
from ociworks.errors import LimitExceeded
from ociworks.image import Image, ImageIndex, artifact, layout, mutate, validate
from ociworks.image.mutate import Changes, Entry
from ociworks.spec import Platform

AMD64, ARM64 = "linux/amd64", "linux/arm64"


def labelled(img: Image) -> Image:
    return mutate.config(img, Changes(labels={"a": "b"}))


def labels(idx: ImageIndex, platform: str) -> dict[str, str]:
    config = idx.image(platform).config.config
    return {} if config is None else dict(config.labels)


def test_every_image_is_changed(tmp_path: str) -> None:
    """Order, platforms and annotations of the entries stay; sinks take the result."""
    images = [testing.random_image(1, platform=each) for each in (AMD64, ARM64)]
    idx = mutate.index(
        [Entry(content=each, annotations={"x": "y"}) for each in images], annotations={"i": "j"}
    )
    new = mutate.each(idx, labelled)
    assert [str(entry.platform) for entry in new.index.manifests] == [AMD64, ARM64]
    assert all(entry.annotations == {"x": "y"} for entry in new.index.manifests)
    assert new.index.annotations == {"i": "j"}
    assert [labels(new, each) for each in (AMD64, ARM64)] == [{"a": "b"}] * 2
    validate.index(new).raise_if_failed()
    with layout.open(f"{tmp_path}/store", create=True) as store:
        store.put(new, tag="new")
        assert store.verify() == []


def test_nothing_changed() -> None:
    """The same bytes."""
    idx = testing.random_index()
    assert mutate.each(idx, lambda img: img) is idx


def test_nested() -> None:
    inner = mutate.index([testing.random_image(1, platform=ARM64)])
    idx = mutate.index([testing.random_image(1, platform=AMD64), inner])
    assert labels(mutate.each(idx, labelled), ARM64) == {"a": "b"}
    for _ in range(4):
        idx = mutate.index([idx])
    with pytest.raises(LimitExceeded):
        mutate.each(idx, labelled)


def test_artifacts_and_attestations() -> None:
    """What is no image is not changed; what was said about an image is not said about another one."""
    one, two = (testing.random_image(1, platform=each) for each in (AMD64, ARM64))
    said = [
        Entry(
            content=mutate.annotate(testing.random_image(1, seed=7 + number), {"n": str(number)}),
            platform=Platform(os="unknown", architecture="unknown"),
            annotations={"vnd.docker.reference.digest": str(img.digest)},
        )
        for number, img in enumerate((one, two))
    ]
    note = artifact.artifact("text/x-note", [artifact.Blob.of(b"x")])
    idx = mutate.index([one, two, *said, note])
    new = mutate.each(idx, lambda img: labelled(img) if img.config.architecture == "arm64" else img)
    digests = [entry.digest for entry in new.index.manifests]
    assert digests == [one.digest, labelled(two).digest, said[0].content.digest, note.digest]


def test_another_platform() -> None:
    """The entry follows an image that says to be for another platform."""
    idx = mutate.index([testing.random_image(1, platform=ARM64)])
    new = mutate.each(idx, lambda img: mutate.config(img, Changes(platform="linux/arm64/v9")))
    assert str(new.index.manifests[0].platform) == "linux/arm64/v9"
    validate.index(new).raise_if_failed()
