"""UN-18 to UN-21 of the regression catalogue: hostile archives, before anything is created."""

from __future__ import annotations

import pytest

from ociworks.errors import LimitExceeded, TarError
from tests.image.archives import END, directory, entry, file, hardlink, header, layer, pax, read, symlink

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
