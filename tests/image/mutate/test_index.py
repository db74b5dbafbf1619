"""Indexes: built, extended, thinned out; children come from memory or from where the index came from."""

from __future__ import annotations

import pytest

from ociworks import testing
from ociworks.errors import BlobNotFound, ImageConfigError, ImageNotFound, InvalidSpec
from ociworks.image import ImageIndex, layout, mutate, validate
from ociworks.image.mutate import Entry
from ociworks.spec import Platform
from ociworks.spec.image import Descriptor, mediatypes

AMD64, ARM64, ARM7 = "linux/amd64", "linux/arm64", "linux/arm/v7"


def built(*platforms: str) -> ImageIndex:
    return mutate.index(
        testing.random_image(1, seed=number, platform=platform) for number, platform in enumerate(platforms)
    )


def offered(idx: ImageIndex) -> list[str]:
    return [str(entry.platform) for entry in idx.index.manifests]


def test_an_index_from_images() -> None:
    idx = built(AMD64, ARM64)
    assert idx.index.media_type == mediatypes.OCI_INDEX
    assert offered(idx) == [AMD64, ARM64]
    assert str(idx.image(ARM64).config.platform) == ARM64
    validate.index(idx).raise_if_failed()


def test_an_index_of_nothing() -> None:
    validate.index(mutate.index([])).raise_if_failed()
    with pytest.raises(ImageNotFound):
        mutate.index([]).image(AMD64)


def test_an_index_can_be_stored(tmp_path: str) -> None:
    """Sinks ask it for its children as they ask any other."""
    idx = mutate.append_manifests(built(AMD64), built(ARM64), testing.random_image(1, platform=ARM7))
    with layout.open(f"{tmp_path}/store", create=True) as store:
        store.put(idx, tag="all")
        assert store.verify() == []
        again = store.index("all")
        assert again.raw_index == idx.raw_index
        assert str(again.image(ARM64).config.platform) == ARM64
        changed = mutate.remove_manifests(again, AMD64)
        store.put(changed, tag="less")
        assert store.verify() == []


def test_entries_say_more() -> None:
    img = testing.random_image(1, platform=AMD64)
    idx = mutate.index([Entry(content=img, platform="linux/amd64/v3", annotations={"a": "b"})])
    entry = idx.index.manifests[0]
    assert str(entry.platform) == "linux/amd64/v3"
    assert entry.annotations == {"a": "b"}
    with pytest.raises(InvalidSpec):
        mutate.index([Entry(content=img, annotations={"": "b"})])


def test_the_platform_of_a_changed_image_is_asked_anew() -> None:
    img = mutate.config(testing.random_index((AMD64,)).image(AMD64), mutate.Changes(platform=ARM64))
    assert offered(mutate.index([img])) == [ARM64]


def test_two_images_for_one_platform() -> None:
    """The second would never be chosen; ``arm64`` and ``arm64/v8`` are one platform."""
    with pytest.raises(ImageConfigError, match="two images for linux/arm64"):
        built(ARM64, "linux/arm64/v8")
    with pytest.raises(ImageConfigError, match="two images"):
        mutate.append_manifests(built(AMD64), testing.random_image(1, seed=7, platform=AMD64))


def test_annotations_of_the_new_index() -> None:
    idx = mutate.index([], annotations={"a": "b"})
    assert idx.index.annotations == {"a": "b"}
    with pytest.raises(InvalidSpec):
        mutate.index([], annotations={"": "b"})


def test_remove_by_digest_or_platform() -> None:
    idx = built(AMD64, ARM64, ARM7)
    assert offered(mutate.remove_manifests(idx, idx.index.manifests[0].digest)) == [ARM64, ARM7]
    assert offered(mutate.remove_manifests(idx, str(idx.index.manifests[0].digest))) == [ARM64, ARM7]
    assert offered(mutate.remove_manifests(idx, ARM64, Platform.parse(ARM7))) == [AMD64]
    with pytest.raises(ImageNotFound, match="s390x"):
        mutate.remove_manifests(idx, "linux/s390x")


def attested() -> ImageIndex:
    """What BuildKit pushes: each image with an entry ``unknown/unknown`` that names it."""
    images = [testing.random_image(1, seed=n, platform=p) for n, p in enumerate((AMD64, ARM64))]
    notes = [
        Entry(
            content=testing.random_image(1, seed=10 + number),
            platform="unknown/unknown",
            annotations={
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": str(img.digest),
            },
        )
        for number, img in enumerate(images)
    ]
    return mutate.index([*images, *notes])


def test_attestations_go_with_their_image() -> None:
    idx = attested()
    kept = mutate.platforms(idx, [ARM64])
    assert offered(kept) == [ARM64, "unknown/unknown"]
    assert kept.index.manifests[1] == idx.index.manifests[3]
    assert offered(mutate.remove_manifests(idx, AMD64)) == [ARM64, "unknown/unknown"]
    validate.index(kept).raise_if_failed()


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([AMD64], [AMD64]),
        (["linux/x86_64"], [AMD64]),
        (["linux/arm"], [ARM7, "linux/arm/v6"]),
        (["linux/arm/v6", AMD64], [AMD64, "linux/arm/v6"]),
        ([Platform.parse(ARM64)], [ARM64]),
        (["linux/arm64/v8"], [ARM64]),
    ],
)
def test_platforms(wanted: list[str], expected: list[str]) -> None:
    idx = mutate.platforms(built(AMD64, ARM7, "linux/arm/v6", ARM64), wanted)
    assert offered(idx) == expected


def test_platforms_that_are_not_there() -> None:
    with pytest.raises(ImageNotFound, match="linux/s390x"):
        mutate.platforms(built(AMD64), [AMD64, "linux/s390x"])


def test_platforms_of_nested_indexes() -> None:
    """A nested index that keeps all it has stays byte for byte, one that keeps nothing goes."""
    inner, other = built(AMD64, ARM64), built(ARM7)
    idx = mutate.index([inner, other])
    kept = mutate.platforms(idx, [AMD64, ARM64])
    assert [entry.digest for entry in kept.index.manifests] == [inner.digest]
    thin = mutate.platforms(idx, [ARM64])
    child = thin.child(thin.index.manifests[0])
    assert isinstance(child, ImageIndex)
    assert offered(child) == [ARM64]
    validate.index(thin).raise_if_failed()


def test_everything_kept_is_the_index_itself() -> None:
    idx = built(AMD64, ARM64)
    assert mutate.platforms(idx, [AMD64, ARM64]) is idx


def test_a_child_that_is_not_there() -> None:
    stranger = Descriptor.of(b"{}", mediatypes.OCI_MANIFEST)
    with pytest.raises(ImageNotFound):
        built(AMD64).child(stranger)
    with pytest.raises(BlobNotFound):
        mutate.annotate(testing.random_index(), {"a": "b"}).child(stranger)
