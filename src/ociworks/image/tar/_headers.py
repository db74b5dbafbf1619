"""One entry → the header blocks in front of its content: ustar where that can say it, PAX records where it cannot.

==================  ===============================================  ==========================================
field               ustar (POSIX 1003.1-1990)                        PAX record, when that does not fit
==================  ===============================================  ==========================================
name                ASCII, 100 bytes, or 155 + ``/`` + 100           ``path``
target of a link    ASCII, 100 bytes                                 ``linkpath``
uid, gid            7 octal digits                                   ``uid``, ``gid``
size                11 octal digits                                  ``size``
mtime               whole seconds from 1970, 11 octal digits         ``mtime``
xattrs              nothing                                          ``SCHILY.xattr.NAME``
==================  ===============================================  ==========================================

Names are bytes. POSIX wants PAX values in UTF-8; names that are not get ``hdrcharset=BINARY`` in front, with which
GNU tar, Go, libarchive and Python all take the bytes as they are. Records are sorted by key. User and group names,
and everything else that would come from the machine, stay empty.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from ociworks.errors import TarError, quote
from ociworks.image.tar._blocks import BLOCK
from ociworks.image.tar.numbers import MAX_ID, MAX_TIME_NS
from ociworks.image.tar.pax import XATTR_PREFIX

if TYPE_CHECKING:
    from ociworks.image.tar.entry import EntryType, TarEntry

__all__ = ["check_entry", "header_blocks"]

_HEADER: Final = struct.Struct("100s8s8s8s12s12s8s1s100s8s64x8s8s155s12x")
_FLAGS: Final[dict[EntryType, bytes]] = {
    "file": b"0",
    "hardlink": b"1",
    "symlink": b"2",
    "char": b"3",
    "block": b"4",
    "directory": b"5",
    "fifo": b"6",
}
_POSIX: Final = b"ustar\x0000"
_SPACES: Final = b" " * 8
_NO_DEVICE: Final = b"0000000\0"
_NAME: Final = 100
_PREFIX: Final = 155
_MAX_SIZE: Final = 8**11 - 1
_MAX_OCTAL_ID: Final = 8**7 - 1
_NANO: Final = 1_000_000_000
_PAX_NAME: Final = b"././@PaxHeader"

_Records = dict[bytes, bytes]


def header_blocks(entry: TarEntry) -> bytes:
    """All header blocks of a checked entry."""
    records: _Records = {}
    prefix, name = _split(_name(entry), records)
    fields = (
        name,
        b"%07o" % entry.mode,
        _number(entry.uid, 7, _MAX_OCTAL_ID, b"uid", records),
        _number(entry.gid, 7, _MAX_OCTAL_ID, b"gid", records),
        _number(entry.size, 11, _MAX_SIZE, b"size", records),
        _time(entry.mtime_ns, records),
        _FLAGS[entry.type],
        _target(entry.target, records),
        b"%07o" % entry.device[0],
        b"%07o" % entry.device[1],
        prefix,
    )
    for key, value in entry.xattrs.items():
        records[XATTR_PREFIX + key] = value
    return (_pax(records) if records else b"") + _block(*fields)


def check_entry(entry: TarEntry) -> None:
    """Raise TarError unless the entry can be written so that every reader gives the same entry back."""
    try:
        _check_name(entry)
        _check_numbers(entry)
        _check_link(entry)
        for key, value in entry.xattrs.items():
            _check_xattr(key, value)
    except TarError as error:
        raise TarError(str(error), quote(entry.path)) from None


def _check_name(entry: TarEntry) -> None:
    for part in entry.parts:
        if part in (b"", b".", b"..") or b"/" in part or b"\0" in part:
            raise TarError(f"{quote(part)} is no component of a name")
    if not entry.parts and entry.type != "directory":
        raise TarError(f"the root of the file system as a {entry.type}")


def _check_numbers(entry: TarEntry) -> None:
    for what, value, maximum in (
        ("mode", entry.mode, 0o7777),
        ("uid", entry.uid, MAX_ID),
        ("gid", entry.gid, MAX_ID),
        ("size", entry.size, MAX_TIME_NS if entry.type == "file" else 0),
        ("device major number", entry.device[0], _MAX_OCTAL_ID),
        ("device minor number", entry.device[1], _MAX_OCTAL_ID),
    ):
        if not 0 <= value <= maximum:
            raise TarError(f"{what} of a {entry.type}: expected a number from 0 to {maximum}, found {value}")
    if abs(entry.mtime_ns) > MAX_TIME_NS:
        raise TarError(f"mtime: {entry.mtime_ns} nanoseconds are beyond 64 bits")


def _check_link(entry: TarEntry) -> None:
    is_link = entry.type in ("hardlink", "symlink")
    if bool(entry.target) != is_link or b"\0" in entry.target:
        raise TarError(f"a {entry.type} with the target {quote(entry.target)}")


def _check_xattr(key: bytes, value: bytes) -> None:
    """A record ends its key at the first ``=``, and no reader takes a NUL in a key."""
    if not key or b"=" in key or b"\0" in key:
        raise TarError(f"extended attribute {quote(key)} cannot be written in a tar archive")
    if not isinstance(value, bytes):
        raise TarError(f"extended attribute {quote(key)}: expected bytes")


def _name(entry: TarEntry) -> bytes:
    """As archives spell it: a directory ends in a slash, the root is ``./``."""
    joined = b"/".join(entry.parts)
    if entry.type != "directory":
        return joined
    return joined + b"/" if joined else b"./"


def _split(name: bytes, records: _Records) -> tuple[bytes, bytes]:
    """Prefix and name as ustar has them, or the record and what is left of the name for readers that ignore it."""
    if name.isascii():
        if len(name) <= _NAME:
            return b"", name
        cut = name.rfind(b"/", 0, min(_PREFIX + 1, len(name) - 1))
        if cut > 0 and len(name) - cut - 1 <= _NAME:
            return name[:cut], name[cut + 1 :]
    _text(b"path", name, records)
    return b"", _ascii(name)


def _target(target: bytes, records: _Records) -> bytes:
    if target.isascii() and len(target) <= _NAME:
        return target
    _text(b"linkpath", target, records)
    return _ascii(target)


def _text(key: bytes, value: bytes, records: _Records) -> None:
    records[key] = value
    try:
        value.decode()
    except UnicodeDecodeError:
        records[b"hdrcharset"] = b"BINARY"


def _ascii(name: bytes) -> bytes:
    return bytes(byte for byte in name[:_NAME] if byte < 0x80)


def _number(value: int, digits: int, maximum: int, key: bytes, records: _Records) -> bytes:
    if value <= maximum:
        return b"%0*o" % (digits, value)
    records[key] = b"%d" % value
    return b"0" * digits


def _time(nanoseconds: int, records: _Records) -> bytes:
    seconds, rest = divmod(nanoseconds, _NANO)
    if not rest and 0 <= seconds <= _MAX_SIZE:
        return b"%011o" % seconds
    whole, parts = divmod(abs(nanoseconds), _NANO)
    fraction = b".%09d" % parts if parts else b""
    sign = b"-" if nanoseconds < 0 else b""
    records[b"mtime"] = sign + b"%d" % whole + fraction.rstrip(b"0")
    return b"%011o" % min(max(seconds, 0), _MAX_SIZE)


def _block(*fields: bytes) -> bytes:
    block = _HEADER.pack(*fields[:6], _SPACES, *fields[6:8], _POSIX, *fields[8:])
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _pax(records: _Records) -> bytes:
    payload = b"".join(_record(key, records[key]) for key in sorted(records))
    return _block(
        _PAX_NAME,
        b"0000644",
        b"0000000",
        b"0000000",
        b"%011o" % len(payload),
        b"00000000000",
        b"x",
        b"",
        _NO_DEVICE,
        _NO_DEVICE,
        b"",
    ) + payload.ljust(len(payload) + -len(payload) % BLOCK, b"\0")


def _record(key: bytes, value: bytes) -> bytes:
    """``length key=value newline``; the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(b"%d" % rest)
    length = rest + len(b"%d" % length)
    return b"%d %s=%s\n" % (length, key, value)
