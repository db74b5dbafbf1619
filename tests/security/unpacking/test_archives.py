"""UN-15 … UN-21 of the regression catalogue: hostile compression and hostile archives, before anything is created."""

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
from tests.image.archives import (
    END,
    directory,
    entry,
    file,
    hardlink,
    header,
    layer,
    pax,
    read,
    symlink,
    zstd,
)

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
        ("none", gzip.compress(b"x")),
        ("none", zstd(b"x")),
        ("none", b"BZh91AY&SY" + bytes(20)),
        ("none", b"PK\x03\x04" + bytes(20)),
        ("gzip", zstd(b"x")),
        ("gzip", b"\xfd7zXZ\0\0\4"),
        ("gzip", b"BZh91AY&SY"),
        ("gzip", b"PK\x03\x04" + bytes(20)),
        ("gzip", b"hsqs" + bytes(90)),
        ("gzip", layer(file(b"a"))),
        ("zstd", gzip.compress(b"x")),
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


# --- UN-18 ----------------------------------------------------------------------------------------------


def extended(kind: bytes, size: int | bytes) -> bytes:
    return header(b"pax", kind, size=size)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_un_18_payloads_are_bounded(kind: bytes) -> None:
    with pytest.raises(LimitExceeded):
        read(extended(kind, 8 * 1024**3 - 1) + bytes(1024))


def test_un_18_chains_are_bounded() -> None:
    with pytest.raises(LimitExceeded):
        read(layer(pax({b"comment": b"c"}, b"g") * 2000, file(b"a")))
    for kind in (b"x", b"L", b"K"):
        one = extended(kind, 11) + b"11 comm=ab\n".ljust(512, b"\0")
        with pytest.raises(TarError):
            read(layer(one * 2000, file(b"a")))


@pytest.mark.parametrize(
    "payload",
    [
        b"0 a=b\n",
        b"6 a=b\n\n",
        b"5 a=b\n",
        b"99 a=b\n",
        b"06 a=b\n",
        b"+6 a=b\n",
        b"6_0 a=b\n",
        b" 6 a=b\n",
        b"6 a=bc",
        b"6 abcd\n"[:6] + b"\n",
        b"5 =b\n",
        b"a=b\n",
        b"99999999999999999999999 a=b\n",
        b"6 a=b\n\0",
        b"\xff",
    ],
)
def test_un_18_malformed_records(payload: bytes) -> None:
    with pytest.raises(TarError):
        read(layer(pax(payload), file(b"a")))


def test_un_18_number_of_records_is_bounded() -> None:
    with pytest.raises(LimitExceeded):
        read(layer(pax({b"k%d" % number: b"" for number in range(100_000)}), file(b"a")))


@pytest.mark.parametrize(
    "key", [b"path", b"size", b"linkpath", b"uid", b"SCHILY.xattr.user.a", b"GNU.sparse.major"]
)
def test_un_18_global_headers_leave_files_alone(key: bytes) -> None:
    with pytest.raises(TarError):
        read(layer(pax({key: b"1"}, b"g"), file(b"a")))


@pytest.mark.parametrize(
    "records",
    [
        {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"10000000000000"},
        {b"GNU.sparse.map": b"0,1,-5,9", b"GNU.sparse.numblocks": b"1000000000"},
    ],
)
def test_un_18_sparse_maps_are_proved(records: dict[bytes, bytes]) -> None:
    """More of them in tests/image/tar/test_sparse.py."""
    with pytest.raises((TarError, LimitExceeded)):
        read(layer(entry(b"a", records=records)))
    with pytest.raises(TarError):
        read(layer(header(b"a", b"S")))


def test_un_18_an_extended_header_needs_its_entry() -> None:
    with pytest.raises(TarError):
        read(layer(pax({b"path": b"a"})))


def test_un_18_two_ways_to_name_one_entry() -> None:
    long_name = extended(b"L", 5) + b"name\0".ljust(512, b"\0")
    with pytest.raises(TarError):
        read(layer(long_name + pax({b"path": b"other"}) + header(b"a")))


# --- UN-19 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size",
    [
        b"\xff" * 12,  # base-256 -1
        b"\x80" + bytes(3) + b"\x7f" + b"\xff" * 7,  # base-256 2**63-1
        b"\xbf" + b"\xff" * 11,
        b"0000000009\0",
        b"0000000x0\0",
        b"1_0\0",
        b"+10\0",
        b"-1\0",
        b"0o10\0",
        b"\0" * 12,
        b" " * 12,
        b"10\0 10\0",
    ],
)
def test_un_19_sizes_in_headers(size: bytes) -> None:
    with pytest.raises((TarError, LimitExceeded)):
        read(header(b"a", size=size) + END)


@pytest.mark.parametrize(
    "size", [b"-1024", b"xx", b"1_0", b"", b"9" * 40, b"1e3", b" 1", b"0x10", b"99999999999999"]
)
def test_un_19_sizes_in_pax_records(size: bytes) -> None:
    with pytest.raises((TarError, LimitExceeded)):
        read(layer(pax({b"size": size}), header(b"a", size=0)))


def test_un_19_larger_than_the_stream() -> None:
    with pytest.raises(TarError, match="ends early"):
        read(header(b"a", size=2**32) + b"x" * 1024)


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"5", b"6"])
def test_un_19_sizes_where_there_is_no_content(kind: bytes) -> None:
    with pytest.raises(TarError):
        read(layer(header(b"a", kind, size=512, link=b"b") + bytes(512)))


def test_un_19_a_valid_pax_size_wins() -> None:
    archive = layer(pax({b"size": b"3"}) + header(b"a", size=0) + b"abc".ljust(512, b"\0"), file(b"b"))
    assert [(item.path, content) for item, content in read(archive)] == [(b"a", b"abc"), (b"b", b"")]


# --- UN-20 ----------------------------------------------------------------------------------------------

WHOLE = layer(file(b"a", b"x" * 700), file(b"b", b"y"))


@pytest.mark.parametrize("length", [0, 100, 512, 700, 1024, 1300, 1536, 2048, 2560, len(WHOLE) - 512])
def test_un_20_cut_archives(length: int) -> None:
    with pytest.raises(TarError):
        read(WHOLE[:length])


def test_un_20_damage_behind_the_first_entry() -> None:
    damaged = bytearray(WHOLE)
    damaged[1536] ^= 1
    with pytest.raises(TarError, match="checksum"):
        read(bytes(damaged))


def test_un_20_only_zeros_follow_the_end() -> None:
    assert len(read(WHOLE + bytes(9 * 512 + 7))) == 2
    for tail in (file(b"c"), b"x", bytes(5000) + b"x"):
        with pytest.raises(TarError, match="after the end"):
            read(WHOLE + tail)


def test_un_20_one_zero_block_between_entries() -> None:
    with pytest.raises(TarError, match="lone"):
        read(file(b"a") + bytes(512) + file(b"b") + END)


def test_un_20_signed_checksums_and_mixed_magic() -> None:
    block = header(b"\xff\xfe")
    spaced = block[:148] + b" " * 8 + block[156:]
    signed = sum(byte - 256 if byte > 127 else byte for byte in spaced)
    assert [item.path for item, _ in read(layer(header(b"\xff\xfe", checksum=b"%06o\0 " % signed)))] == [
        b"\xff\xfe"
    ]
    for magic in (b"ustar\0zz", b"USTAR\x0000", b"ustar \x000"):
        with pytest.raises(TarError, match="format"):
            read(layer(header(b"a", magic=magic)))


# --- UN-09, UN-21 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [b"x", b"1_0", b"-1", b"4294967295", b"4294967296", b"", b"+1", b" 1", b"1.0"]
)
@pytest.mark.parametrize("key", [b"uid", b"gid"])
def test_un_09_owners_in_pax_records(key: bytes, value: bytes) -> None:
    with pytest.raises(TarError):
        read(layer(pax({key: value}), header(b"a")))


@pytest.mark.parametrize("value", [b"\xff" * 8, b"x", b"", b"        ", b"\x80\0\0\0\xff\xff\xff\xff", b"9"])
def test_un_09_owners_in_headers(value: bytes) -> None:
    with pytest.raises(TarError):
        read(layer(header(b"a", uid=value)))


@pytest.mark.parametrize(
    "name", [b"\xff\xfe", b"line\nfeed", b"\x1b[31m", "\u202ereversed".encode(), b"back\\slash"]
)
def test_un_21_odd_names_are_kept(name: bytes) -> None:
    [(item, _)] = read(layer(entry(name, records={b"hdrcharset": b"BINARY"})))
    assert item.parts == (name,)


@pytest.mark.parametrize(
    "records", [{b"path": b"a\0b"}, {b"linkpath": b"a\0b"}, {b"path": b""}, {b"hdrcharset": b"EBCDIC"}]
)
def test_un_21_illegal_names(records: dict[bytes, bytes]) -> None:
    with pytest.raises(TarError):
        read(layer(entry(b"a", b"2", link=b"t", records=records)))


@pytest.mark.parametrize("name", [b"n" * 256, b"d/" * 2040 + b"x" * 20, b"d/" * 257 + b"x"])
def test_un_21_over_long_names(name: bytes) -> None:
    with pytest.raises(LimitExceeded) as caught:
        read(layer(entry(name)))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("mtime", "expected"),
    [
        (b"-1", -(10**9)),
        (b"-0.5", -(10**9) // 2),
        (b"9223372036854775808", 2**63 - 1),
        (b"0.1234567891", 123456789),
        (b"-0.1234567891", -123456790),
    ],
)
def test_un_21_times_are_clamped(mtime: bytes, expected: int) -> None:
    [(item, _)] = read(layer(entry(b"a", records={b"mtime": mtime})))
    assert item.mtime_ns == expected


@pytest.mark.parametrize("mtime", [b"nan", b"1e400", b"inf", b"", b"--1", b"1.2.3", b"1_0", b"0x1"])
def test_un_21_times_that_are_none(mtime: bytes) -> None:
    with pytest.raises(TarError):
        read(layer(entry(b"a", records={b"mtime": mtime})))


def test_un_21_messages_escape_names() -> None:
    with pytest.raises(TarError) as caught:
        read(layer(header(b"\x1b[31mred\n", b"Z")))
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)


# --- UN-01, UN-07: decided from the name and type alone ----------------------------------------------------


@pytest.mark.parametrize(
    "name", [b"../x", b"a/../../x", b"./../x", b"..", b"a/..", b"/..", b"../", b"a/../b"]
)
def test_un_01_parent_directory_names(name: bytes) -> None:
    for archive in (
        file(name),
        directory(name),
        entry(b"innocent", records={b"path": name}),
        extended(b"L", len(name) + 1) + name.ljust(512, b"\0") + header(b"innocent"),
        hardlink(b"h", name),
    ):
        with pytest.raises(TarError):
            read(layer(archive))


def test_un_01_parent_directory_in_the_prefix() -> None:
    with pytest.raises(TarError, match=r"'\.\.'"):
        read(layer(header(b"x", prefix=b"a/..")))


@pytest.mark.parametrize("kind", [b"7", b"S", b"M", b"V", b"D", b"N", b"A", b"X", b"9", b"\xff"])
def test_un_07_unknown_types(kind: bytes) -> None:
    with pytest.raises(TarError):
        read(layer(header(b"a", kind)))


@pytest.mark.parametrize("major", [b"\xff" * 8, b"\x80\0\0\x01\0\0\0\0", b"7777777\0"])
def test_un_07_device_numbers(major: bytes) -> None:
    with pytest.raises(TarError):
        read(layer(header(b"a", b"3", device=(major, 1))))


def test_un_13_a_file_named_like_a_directory() -> None:
    for item in (file(b"x/"), symlink(b"x/", b"y"), hardlink(b"x/", b"y"), file(b"x/.")):
        with pytest.raises(TarError):
            read(layer(item))
