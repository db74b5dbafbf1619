"""UN-15 to UN-17 of the regression catalogue: hostile compression, before anything is created."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import sys
import textwrap

import pytest

from ociworks.errors import CompressionError, LimitExceeded, TarError
from ociworks.image.tar import Compression, Limits, compression_of, decompress
from tests.image.archives import file, layer, read, zstd

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
SKIPPABLE = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"skip"


def inflate(data: bytes, compression: Compression, limits: Limits | None = None) -> bytes:
    with decompress(io.BytesIO(data), compression, limits or Limits()) as stream:
        return stream.read()


@pytest.fixture(params=["isal", "zlib"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    if name == "isal":
        pytest.importorskip("isal")
    else:
        monkeypatch.setitem(sys.modules, "isal", None)
    return name


# --- UN-15 ----------------------------------------------------------------------------------------------


def test_un_15_all_zstd_frames_are_read() -> None:
    one, two = zstd(b"one"), zstd(b"two")
    assert inflate(one + two, "zstd") == b"onetwo"
    assert inflate(SKIPPABLE + one + SKIPPABLE + two + SKIPPABLE, "zstd") == b"onetwo"


@pytest.mark.parametrize("cut", [1, 2, 4, 5, 9, 12])
def test_un_15_truncated_zstd(cut: int) -> None:
    with pytest.raises(CompressionError):
        inflate(zstd(os.urandom(50))[:-cut], "zstd")
    with pytest.raises(CompressionError):
        inflate(zstd(b"whole") + zstd(os.urandom(50))[:-cut], "zstd")


@pytest.mark.parametrize("junk", [b"j", b"junk", b"junkjunkjunk", SKIPPABLE[:-1], SKIPPABLE[:6], bytes(4)])
def test_un_15_content_after_the_last_frame(junk: bytes) -> None:
    with pytest.raises(CompressionError):
        inflate(zstd(b"whole") + junk, "zstd")


def test_un_15_claims_of_size_and_window_allocate_nothing() -> None:
    huge = ZSTD_MAGIC + bytes([0xE0]) + struct.pack("<Q", 2**40) + b"\x01\x00\x00"
    with pytest.raises(LimitExceeded):
        inflate(huge, "zstd")
    for exponent in (18, 21):  # 2**28 and 2**31
        with pytest.raises(LimitExceeded):
            inflate(ZSTD_MAGIC + bytes([0x00, exponent << 3]) + b"\x01\x00\x00", "zstd")


def test_un_15_bomb_comes_in_bounded_pieces() -> None:
    block = struct.pack("<I", 1 << 1 | 131072 << 3)[:3] + b"\0"
    bomb = ZSTD_MAGIC + bytes([0x00, 7 << 3]) + block * 4000 + b"\x01\x00\x00"
    stream = decompress(io.BytesIO(bomb), "zstd")
    assert len(stream.read(1 << 30)) <= 1 << 20


def test_un_15_dictionary_reserved_bits_and_empty_input() -> None:
    for frame in (
        ZSTD_MAGIC + bytes([0x01, 0x38, 0x05]) + b"\x01\x00\x00",  # dictionary 5
        ZSTD_MAGIC + bytes([0x08, 0x38]) + b"\x01\x00\x00",  # the reserved bit
        ZSTD_MAGIC + bytes([0x00, 0x38]) + b"\x07\x00\x00",  # a reserved block type
        b"",
    ):
        with pytest.raises(CompressionError):
            inflate(frame, "zstd")


def test_un_15_corrupt_checksum() -> None:
    data = bytearray(zstd(b"content" * 10))
    data[-1] ^= 1
    with pytest.raises(CompressionError):
        inflate(bytes(data), "zstd")


# --- UN-16 ----------------------------------------------------------------------------------------------


def test_un_16_all_members_are_read(decoder: str) -> None:
    assert inflate(gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two"), "gzip") == b"onetwo"


@pytest.mark.parametrize("cut", range(1, 24))
def test_un_16_truncated_gzip(decoder: str, cut: int) -> None:
    with pytest.raises(CompressionError):
        inflate(gzip.compress(b"some content")[:-cut], "gzip")


@pytest.mark.parametrize("position", [-1, -5, -8])
def test_un_16_wrong_checksum_or_length(decoder: str, position: int) -> None:
    data = bytearray(gzip.compress(b"some content"))
    data[position] ^= 1
    with pytest.raises(CompressionError):
        inflate(bytes(data), "gzip")


@pytest.mark.parametrize("junk", [b"\0", bytes(512), b"junk", b"\x1f\x8b\x08", b"\x1f"])
def test_un_16_content_after_the_last_member(decoder: str, junk: bytes) -> None:
    with pytest.raises(CompressionError):
        inflate(gzip.compress(b"content") + junk, "gzip")


def test_un_16_header_is_bounded(decoder: str) -> None:
    member = gzip.compress(b"content")
    endless = member[:3] + b"\x08" + member[4:10] + b"n" * (1 << 20)
    with pytest.raises(LimitExceeded):
        inflate(endless + b"\0" + member[10:], "gzip")
    named = member[:3] + b"\x08" + member[4:10] + b"name\0" + member[10:]
    assert inflate(named, "gzip") == b"content"


def test_un_16_empty_input(decoder: str) -> None:
    with pytest.raises(CompressionError):
        inflate(b"", "gzip")


# --- UN-17 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "content"),
    [
        ("none", gzip.compress(b"x", mtime=0)),
        ("none", zstd(b"x")),
        ("none", b"BZh91AY&SY" + bytes(20)),
        ("none", b"PK\x03\x04" + bytes(20)),
        ("gzip", zstd(b"x")),
        ("gzip", b"\xfd7zXZ\0\0\4"),
        ("gzip", b"BZh91AY&SY"),
        ("gzip", b"PK\x03\x04" + bytes(20)),
        ("gzip", b"hsqs" + bytes(90)),
        ("gzip", layer(file(b"a"))),
        ("zstd", gzip.compress(b"x", mtime=0)),
        ("zstd", layer(file(b"a"))),
    ],
)
def test_un_17_media_type_and_magic_must_agree(stated: Compression, content: bytes) -> None:
    with pytest.raises(CompressionError, match="media type"):
        inflate(content, stated)


def test_un_17_gzip_in_gzip_is_no_archive() -> None:
    inner = inflate(gzip.compress(gzip.compress(layer(file(b"a")))), "gzip")
    with pytest.raises(TarError):
        read(inner)


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.oci.image.layer.v1.tar+xz",
        "application/vnd.oci.image.layer.v1.tar+gzip+zstd",
        "application/vnd.oci.image.layer.v1.tar+gzip; charset=utf-8",
        "application/vnd.oci.image.layer.v1.tar+GZIP",
        "application/vnd.oci.image.layer.v1.tar+gzip\n",
        "application/x-tar",
        "",
    ],
)
def test_un_17_unknown_media_types(media_type: str) -> None:
    with pytest.raises(CompressionError):
        compression_of(media_type)


def test_un_17_nothing_is_executed(tmp_path: object) -> None:
    """An audit hook sees every process and every library that Python starts; the unpack path has neither."""
    program = textwrap.dedent(
        """
        import sys, tempfile, os
        from ociworks import testing
        from ociworks.testing.images import image_from_files
        from ociworks.image import unpack
        import zstandard, isal.isal_zlib
        images = [image_from_files({"a": b"x"}, config=__import__("ociworks.spec.image").spec.image.Config(cmd=("/a",)),
                  compression=name) for name in ("gzip", "zstd")]
        with tempfile.TemporaryDirectory() as folder:
            unpack(images[0], folder + "/warm")            # our own lazy imports
            seen = []
            sys.addaudithook(lambda name, args: seen.append(name))
            for number, image in enumerate(images):
                unpack(image, f"{folder}/{number}")
            bad = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "ctypes.dlopen"} & set(seen)
        sys.exit(f"seen: {bad}" if bad else 0)
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
