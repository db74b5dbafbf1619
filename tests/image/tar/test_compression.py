"""Decompression: what comes out is what went in, and the end of a stream is proved."""

from __future__ import annotations

import gzip
import io
import os
import sys
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.errors import CompressionError
from ociworks.image.tar import Compression, compression_of, decompress
from ociworks.spec.image import mediatypes
from tests.image.archives import zstd


@pytest.fixture
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    if name == "zlib":
        monkeypatch.setitem(sys.modules, "isal", None)
    else:
        pytest.importorskip("isal")
    return name


def inflate(data: bytes, compression: Compression) -> bytes:
    with decompress(io.BytesIO(data), compression) as stream:
        return stream.read()


@given(st.binary(max_size=5000), st.integers(1, 700))
def test_round_trip_in_pieces(data: bytes, step: int) -> None:
    for compressed, name, expected in (
        (gzip.compress(data), "gzip", data),
        (zstd(data), "zstd", data),
        (b"tar" + data, "none", b"tar" + data),
    ):
        stream = decompress(io.BytesIO(compressed), cast("Compression", name))
        pieces = []
        while piece := stream.read(step):
            pieces.append(piece)
        assert b"".join(pieces) == expected


@pytest.mark.parametrize("decoder", ["isal", "zlib"], indirect=True)
def test_large_gzip(decoder: str) -> None:
    data = os.urandom(3000) * 2000
    assert inflate(gzip.compress(data, 1), "gzip") == data


def test_media_types() -> None:
    assert compression_of(mediatypes.OCI_LAYER) == "none"
    assert compression_of(mediatypes.DOCKER_LAYER_GZIP) == "gzip"
    assert compression_of(mediatypes.OCI_LAYER_ZSTD) == "zstd"


def test_leaving_the_block_proves_the_end() -> None:
    with (
        pytest.raises(CompressionError),
        decompress(io.BytesIO(gzip.compress(bytes(10**6))[:-4]), "gzip") as stream,
    ):
        stream.read(10)
