"""Compressing: what comes out is read by others, and depends on the input alone."""

from __future__ import annotations

import gzip
import io
import random
import subprocess
import threading
import zlib
from typing import get_args

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ociworks.errors import NotSupported
from ociworks.image.tar import compress_to, decompress, is_canonical
from ociworks.image.tar._deflate import BLOCK
from ociworks.spec.image.mediatypes import Compression

COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)


def compressed(
    data: bytes, compression: Compression, *, piece: int = 1 << 20, level: int | None = None
) -> bytes:
    buffer = io.BytesIO()
    encoder = compress_to(buffer, compression, level)
    for start in range(0, len(data), piece):
        encoder.write(data[start : start + piece])
    encoder.close()
    return buffer.getvalue()


def sample(size: int) -> bytes:
    chance = random.Random(size)
    words = [chance.randbytes(chance.randrange(1, 12)) for _ in range(500)]
    text = b"".join(chance.choice(words) for _ in range(size // 4))
    return text[:size].ljust(size, b"\0")


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 77])
def test_round_trip(compression: Compression, size: int) -> None:
    data = sample(size)
    blob = compressed(data, compression)
    if size or compression != "none":
        assert decompress(io.BytesIO(blob), compression).read() == data
    if compression == "gzip":
        assert gzip.decompress(blob) == data
        assert subprocess.run(["gzip", "-dc"], input=blob, capture_output=True, check=True).stdout == data
    elif compression == "zstd":
        assert zstandard.ZstdDecompressor().stream_reader(io.BytesIO(blob)).read() == data


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_pieces_and_cores_do_not_matter(compression: Compression, monkeypatch: pytest.MonkeyPatch) -> None:
    data = sample(3 * BLOCK + 5)
    expected = compressed(data, compression)
    for piece in (1000, BLOCK, 3 * BLOCK + 5):
        assert compressed(data, compression, piece=piece) == expected
    for cores in (1, 3, 64, None):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert compressed(data, compression) == expected


@settings(max_examples=20)
@given(st.binary(max_size=3000), st.sampled_from([64, 100, 1000]), st.integers(1, 9))
def test_gzip_in_small_blocks(data: bytes, block: int, level: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ociworks.image.tar._deflate.BLOCK", block)
        assert gzip.decompress(compressed(data, "gzip", piece=70, level=level)) == data


def test_the_gzip_header_says_nothing_of_the_machine() -> None:
    assert compressed(b"x", "gzip")[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


def test_the_encoders_here_are_the_ones_that_digests_are_promised_for() -> None:
    """Zlib of zlib.net, and the libzstd of the wheel. Elsewhere this may differ, and is_canonical says so."""
    assert is_canonical("none")
    if "ng" in zlib.ZLIB_RUNTIME_VERSION:
        pytest.skip("zlib-ng")
    assert is_canonical("gzip")
    assert is_canonical("zstd") == (zstandard.ZSTD_VERSION == (1, 5, 7))


def test_zstd_writes_checksums() -> None:
    assert zstandard.get_frame_parameters(compressed(b"x", "zstd")).has_checksum


def test_a_sink_that_fails_ends_the_threads() -> None:
    before = threading.active_count()

    class Full:
        room = 2

        def write(self, data: object, /) -> None:
            self.room -= 1
            if self.room < 0:
                raise OSError(28, "No space left on device")

    encoder = compress_to(Full(), "gzip")
    with pytest.raises(OSError, match="No space"):
        encoder.write(sample(80 * BLOCK // 8) * 8)
    encoder.abort()
    assert threading.active_count() == before
    encoder.abort()


@pytest.mark.parametrize(("compression", "level"), [("gzip", 0), ("gzip", 10), ("zstd", 20), ("none", 1)])
def test_unknown_levels(compression: Compression, level: int) -> None:
    with pytest.raises(NotSupported, match="level"):
        compress_to(io.BytesIO(), compression, level)


def test_unknown_compressions() -> None:
    with pytest.raises(NotSupported, match="xz"):
        compress_to(io.BytesIO(), "xz")  # type: ignore[arg-type]
