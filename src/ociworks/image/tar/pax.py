"""PAX extended headers (POSIX pax, "extended header records"): strict and bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ociworks.errors import LimitExceeded, TarError, quote
from ociworks.image.tar import sparse
from ociworks.image.tar.numbers import pax_number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ociworks.image.tar.limits import Limits

__all__ = ["XATTR_PREFIX", "check_global", "parse_records", "xattrs_of"]

XATTR_PREFIX: Final = b"SCHILY.xattr."
_PER_FILE: Final = frozenset((b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", b"hdrcharset"))
_NO_NUL: Final = frozenset((b"path", b"linkpath", sparse.NAME))
_NOT_EMPTY: Final = frozenset((b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", sparse.NAME))
_CHARSETS: Final = frozenset((b"BINARY", b"ISO-IR 10646 2000 UTF-8"))
_LENGTH_DIGITS: Final = 20


def parse_records(payload: bytes, limits: Limits) -> dict[bytes, bytes]:
    """The records of one extended header; of equal keys the last one counts, as POSIX says."""
    records: dict[bytes, bytes] = {}
    for count, (key, value) in enumerate(_records(payload), 1):
        if count > limits.extended_records:
            raise LimitExceeded("records of a PAX header", "extended_records", limits.extended_records)
        _check_record(key, value)
        if key.startswith(sparse.PREFIX):
            sparse.add_record(records, key, value)
        else:
            records[key] = value
    return records


def check_global(records: Mapping[bytes, bytes]) -> None:
    """A global header must leave the fields of single files alone: it would rename or resize all that follow."""
    for key in records:
        if key in _PER_FILE or key.startswith((XATTR_PREFIX, sparse.PREFIX)):
            raise TarError(f"global PAX header sets {quote(key)}, which belongs to a single file")


def xattrs_of(records: Mapping[bytes, bytes], limits: Limits) -> dict[bytes, bytes]:
    """The extended attributes in the records, by their names on disk."""
    cut = len(XATTR_PREFIX)
    found = {key[cut:]: value for key, value in records.items() if key.startswith(XATTR_PREFIX)}
    if len(found) > limits.xattrs:
        raise LimitExceeded("extended attributes of an entry", "xattrs", limits.xattrs)
    for name, value in found.items():
        if not name:
            raise TarError("extended attribute without a name")
        if len(value) > limits.xattr_bytes:
            raise LimitExceeded(f"bytes of the attribute {quote(name)}", "xattr_bytes", limits.xattr_bytes)
    return found


def _records(payload: bytes) -> Iterator[tuple[bytes, bytes]]:
    """``length key=value newline``, one after the other to the last byte."""
    position, size = 0, len(payload)
    while position < size:
        space = payload.find(b" ", position, position + _LENGTH_DIGITS)
        digits = payload[position : max(space, position)]
        length = pax_number(digits, size - position, "record length")
        end = position + length
        if end <= space + 1 or payload[end - 1] != 0x0A:
            raise TarError(f"PAX record: its length {length} does not lead to the end of a record")
        key, equals, value = payload[space + 1 : end - 1].partition(b"=")
        if not key or not equals:
            raise TarError(f"PAX record: expected key=value, found {quote(key)}")
        yield key, value
        position = end


def _check_record(key: bytes, value: bytes) -> None:
    if b"\0" in key or (key in _NO_NUL and b"\0" in value):
        raise TarError(f"NUL in the PAX record {quote(key)}")
    if not value and key in _NOT_EMPTY:
        raise TarError(f"PAX record {quote(key)} is empty")
    if key == b"hdrcharset" and value not in _CHARSETS:
        raise TarError(f"PAX hdrcharset: expected BINARY or UTF-8, found {quote(value)}")
