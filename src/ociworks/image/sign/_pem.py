"""Key and certificate files: PEM that is exactly what it says, read with a bound."""

from __future__ import annotations

import binascii
import os
import re
import stat
from base64 import b64decode, b64encode
from typing import Final

from ociworks.errors import InvalidKey, quote

__all__ = ["MAX_FILE", "armour", "blocks", "read_regular", "read_source", "single"]

MAX_FILE: Final = 256 * 1024
"""Bytes of a file of keys or certificates at most."""

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,64})-----")
_BLOCK = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]{1,64})-----[ \t]*\r?\n([A-Za-z0-9+/=\r\n]*)-----END ([A-Z0-9 ]{1,64})-----",
)


def read_source(source: str | os.PathLike[str] | bytes, what: str = "key") -> bytes:
    """The bytes of a file, or those that were given; raises ``InvalidKey`` and ``OSError``."""
    if isinstance(source, bytes):
        raw = source
    elif isinstance(source, str) and "-----BEGIN" in source:
        raise InvalidKey(f"expected the path of a {what}, got its text: pass the text as bytes")
    else:
        raw = _read_file(source, what)
    if len(raw) > MAX_FILE:
        raise InvalidKey(f"expected a {what} of at most {MAX_FILE} bytes, got more")
    return raw


def _read_file(path: str | os.PathLike[str], what: str) -> bytes:
    found = read_regular(path, MAX_FILE)
    if found is None:
        raise InvalidKey(f"expected a {what}, {quote(os.fspath(path))} is no regular file")
    return found[1]


def read_regular(path: str | os.PathLike[str], maximum: int) -> tuple[os.stat_result, bytes] | None:
    """A regular file, up to one byte more than ``maximum``; None for anything else. Never waits for a pipe."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return None
        with open(fd, "rb", closefd=False) as file:
            return status, file.read(maximum + 1)
    finally:
        os.close(fd)


def blocks(raw: bytes) -> list[tuple[str, bytes]]:
    """The label and content of each block, in order; text between blocks is passed over, a broken block is not."""
    found = list(_BLOCK.finditer(raw))
    if len(found) != len(_BEGIN.findall(raw)):
        raise InvalidKey("PEM: a block is damaged: expected base 64 lines between BEGIN and END")
    return [(_label(match[1], match[3]), _decode(match[2])) for match in found]


def single(raw: bytes, what: str) -> tuple[str, bytes]:
    """The one block of a file that holds nothing else."""
    found = blocks(raw)
    if len(found) != 1:
        raise InvalidKey(f"expected one {what} in PEM, found {len(found)} blocks")
    if _BLOCK.fullmatch(raw.strip()) is None:
        raise InvalidKey(f"expected one {what} in PEM and nothing around it")
    return found[0]


def armour(label: str, content: bytes) -> bytes:
    """One block of PEM."""
    text = b64encode(content)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join([f"-----BEGIN {label}-----".encode(), *lines, f"-----END {label}-----".encode(), b""])


def _label(begin: bytes, end: bytes) -> str:
    if begin != end:
        raise InvalidKey(f"PEM: a block begins as {quote(begin)} and ends as {quote(end)}")
    return begin.decode("ascii")


def _decode(text: bytes) -> bytes:
    try:
        return b64decode(text.replace(b"\r", b"").replace(b"\n", b""), validate=True)
    except binascii.Error:
        raise InvalidKey("PEM: the content of a block is not base 64") from None
