"""Archives with damage anywhere: a typed error or a result, never another exception, and never more than the limits."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ociworks.errors import LayerError, LimitExceeded
from ociworks.image.tar import Limits
from tests.image.archives import (
    Outside,
    apply,
    directory,
    entry,
    file,
    hardlink,
    header,
    layer,
    pax,
    read,
    symlink,
)

SPARSE = {
    b"GNU.sparse.major": b"1",
    b"GNU.sparse.minor": b"0",
    b"GNU.sparse.name": b"holey",
    b"GNU.sparse.realsize": b"9000",
}
WHOLE = layer(
    directory(b"d", mode=0o700),
    file(b"d/f", b"content" * 100),
    entry(b"long/" + b"n" * 120, content=b"x", records={b"mtime": b"1.5", b"SCHILY.xattr.user.k": b"v"}),
    header(b"@LongLink", b"L", size=6) + b"other\0".ljust(512, b"\0") + header(b"short"),
    symlink(b"l", b"d"),
    hardlink(b"h", b"d/f"),
    entry(b"holey", content=b"2\n10\n3\n8000\n2\n".ljust(512, b"\0") + b"abcde", records=SPARSE),
    pax({b"comment": b"c"}, b"g"),
    file(b"l/.wh.f"),
    file(b"d/.wh..wh..opq"),
    entry(b"p", b"6"),
)
DAMAGE = st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=6)
LIMITS = Limits(unpacked_bytes_per_layer=1_000_000, entries_per_layer=100)


def damaged(damage: list[tuple[int, int]], cut: int | None, *, repaired: bool) -> bytes:
    """The archive with other bytes in it; ``repaired`` gives the headers right sums, so that more is looked at."""
    data = bytearray(WHOLE)
    for position, value in damage:
        data[position] = value
    if repaired:
        for start in range(0, len(data), 512):
            block = data[start : start + 512]
            if block[257:262] == b"ustar":
                block[148:156] = b" " * 8
                data[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    return bytes(data[:cut])


@settings(max_examples=500)
@given(DAMAGE, st.one_of(st.none(), st.integers(0, len(WHOLE))), st.booleans())
def test_un_20_damage_is_a_typed_error(
    damage: list[tuple[int, int]], cut: int | None, repaired: bool
) -> None:
    try:
        for found, content in read(damaged(damage, cut, repaired=repaired), LIMITS):
            assert len(content) == found.size
    except (LayerError, LimitExceeded):
        pass


@settings(max_examples=150)
@given(DAMAGE, st.booleans())
def test_un_22_damage_reaches_nothing_outside(damage: list[tuple[int, int]], repaired: bool) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Outside.watched(Path(folder)) as outside,
        contextlib.suppress(LayerError, LimitExceeded),
    ):
        apply(outside.root, damaged(damage, None, repaired=repaired), rootless=True, limits=LIMITS)


@settings(max_examples=300)
@given(st.binary(max_size=2000))
def test_un_20_any_bytes(data: bytes) -> None:
    with contextlib.suppress(LayerError, LimitExceeded):
        assert read(data, LIMITS) == []
