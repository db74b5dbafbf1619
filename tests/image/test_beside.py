"""Hashing in a thread of its own: the same verdicts, and nothing left behind."""

from __future__ import annotations

import io
import threading

import pytest

from ociworks import testing
from ociworks.errors import DigestMismatch, SizeMismatch
from ociworks.image import remote
from ociworks.image._beside import WORTHWHILE, BesideHasher
from ociworks.image.auth import ANONYMOUS
from ociworks.image.stream import VerifiedStream
from ociworks.spec import Digest
from ociworks.spec.image import Descriptor, mediatypes

CONTENT = bytes(range(256)) * (WORTHWHILE // 256)
DESCRIPTOR = Descriptor.of(CONTENT, mediatypes.OCI_LAYER)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "ociworks-hash"]


def opened(content: bytes = CONTENT) -> VerifiedStream:
    return VerifiedStream(io.BytesIO(content), DESCRIPTOR).hash_beside()


def test_the_whole_is_proved() -> None:
    with opened() as stream:
        first = stream.read(1000)
        assert threads() == ["ociworks-hash"]
        assert first + stream.read() == CONTENT
    assert threads() == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [(CONTENT[:-1] + b"x", DigestMismatch), (CONTENT[:-1], SizeMismatch), (CONTENT + b"x", SizeMismatch)],
    ids=["wrong", "short", "long"],
)
def test_rg_09_what_is_wrong_is_found_as_without(content: bytes, expected: type[Exception]) -> None:
    with pytest.raises(expected), opened(content) as stream:
        stream.read(10)
    assert threads() == []


def test_a_consumer_that_stops_leaves_no_thread() -> None:
    class Stop(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell():
                raise KeyboardInterrupt
            return super().read(size)

    with pytest.raises(KeyboardInterrupt), VerifiedStream(Stop(CONTENT), DESCRIPTOR).hash_beside() as stream:
        stream.read()
    assert threads() == []
    stream = opened()
    stream.read(10)
    stream.close()
    stream.close()
    assert threads() == []


def test_small_blobs_and_begun_streams_stay_as_they_are() -> None:
    small = Descriptor.of(b"x", mediatypes.OCI_LAYER)
    with VerifiedStream(io.BytesIO(b"x"), small).hash_beside() as stream:
        assert stream.read() == b"x"
    begun = VerifiedStream(io.BytesIO(CONTENT), DESCRIPTOR)
    with begun:
        begun.read(1)
        begun.hash_beside().read(1)
        assert threads() == []


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_the_digest_is_the_digest(algorithm: str) -> None:
    hasher = BesideHasher(algorithm)
    assert hasher.digest() == Digest.of(b"", algorithm)
    hasher = BesideHasher(algorithm)
    for start in range(0, len(CONTENT), 100_000):
        hasher.update(CONTENT[start : start + 100_000])
    assert (hasher.size, hasher.digest()) == (len(CONTENT), Digest.of(CONTENT, algorithm))


def test_large_layers_travel_both_ways() -> None:
    image = testing.random_image(2, size=WORTHWHILE + 1, compression="none")
    with testing.Registry() as registry, remote.Client(keychain=ANONYMOUS) as client:
        client.push(image, f"{registry.host}/app:1")
        for layer in client.image(f"{registry.host}/app:1").layers:
            with layer.open() as stream:
                assert Digest.of(stream.read()) == layer.digest
        with client.image(f"{registry.host}/app:1").layers[0].open():
            pass
        registry.inject(testing.Fault(path=str(image.layers[0].digest), flip_at=WORTHWHILE))
        with pytest.raises(DigestMismatch), client.image(f"{registry.host}/app:1").layers[0].open():
            pass
    assert threads() == []
