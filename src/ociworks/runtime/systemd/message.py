"""D-Bus messages as bytes (D-Bus specification, Type System and Message Protocol); no I/O.

Only what talking to systemd needs: every type but file descriptors, messages of at most a mebibyte. Both byte orders
are read, little endian is written.

========  ==========================================  ==============================
type      meaning                                     value
========  ==========================================  ==============================
y n q i   integers of 1, 2, 2, 4 bytes                int
u x t d   of 4, 8, 8 bytes; a double                  int, float
b         a truth value                               bool
s o g     text, an object's path, a signature         str
v         any one value                               (signature, value)
a         an array; of ``y``: bytes                   tuple, bytes
( ) { }   a structure; an entry of a dictionary       tuple
========  ==========================================  ==============================
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, TypeAlias

import attrs

from ociworks.spec.frozen import FrozenDict

__all__ = ["MAX_MESSAGE", "Message", "Value", "decode", "encode", "marshal", "message_size", "unmarshal"]

Value: TypeAlias = "bool | int | float | str | bytes | tuple[Value, ...]"

MAX_MESSAGE: Final = 1 << 20
HEADER: Final = 16

_FIXED: Final = {"y": "B", "n": "h", "q": "H", "i": "i", "u": "I", "b": "I", "x": "q", "t": "Q", "d": "d"}
_ALIGN: Final = {
    **{code: struct.calcsize(packed) for code, packed in _FIXED.items()},
    **dict.fromkeys("soa", 4),
    **dict.fromkeys("gv", 1),
    **dict.fromkeys("({", 8),
}
_FIELDS: Final = {
    "path": (1, "o"),
    "interface": (2, "s"),
    "member": (3, "s"),
    "error": (4, "s"),
    "reply_to": (5, "u"),
    "destination": (6, "s"),
    "sender": (7, "s"),
    "signature": (8, "g"),
}
_NAMES: Final = {number: name for name, (number, _) in _FIELDS.items()}
_DEPTH: Final = 32


@attrs.frozen(kw_only=True)
class Message:
    """One message. ``kind`` is 1 for a call, 2 for its answer, 3 for an error, 4 for a signal."""

    kind: int
    serial: int
    fields: Mapping[str, Value] = FrozenDict()
    body: tuple[Value, ...] = ()

    def text(self, field: str) -> str:
        """A header field that is text; "" without it."""
        value = self.fields.get(field, "")
        return value if isinstance(value, str) else ""


def encode(message: Message) -> bytes:
    """The bytes of a message; its ``signature`` field says what the body is."""
    body = marshal(message.text("signature"), message.body)
    fields = tuple(
        (_FIELDS[name][0], (_FIELDS[name][1], value)) for name, value in message.fields.items() if value
    )
    head = marshal("yyyyuua(yv)", (ord("l"), message.kind, 0, 1, len(body), message.serial, fields))
    return head + bytes(-len(head) % 8) + body


def message_size(head: bytes) -> int:
    """How many bytes a message has, from its first 16. ValueError for what is none, or is too large."""
    order = _order(head)
    (body,) = struct.unpack_from(order + "I", head, 4)
    (fields,) = struct.unpack_from(order + "I", head, 12)
    size: int = HEADER + fields + -fields % 8 + body
    if head[3] != 1 or size > MAX_MESSAGE:
        raise ValueError(f"no message of at most {MAX_MESSAGE} bytes of protocol version 1")
    return size


def decode(raw: bytes) -> Message:
    """Read one whole message. ValueError when it is not well-formed."""
    order = _order(raw)
    reader = _Reader(raw, order)
    try:
        _, kind, _, _, _, serial, found = (
            reader.take(part, 0) for part in ("y", "y", "y", "y", "u", "u", "a(yv)")
        )
        fields: dict[str, Value] = {}
        for number, variant in _pairs(found):
            name = _NAMES.get(number) if isinstance(number, int) else None
            if name is not None:  # unknown fields are to be ignored
                fields[name] = _second(variant)
        reader.align(8)
        signature = fields.get("signature", "")
        body = reader.all(signature if isinstance(signature, str) else "")
    except (struct.error, IndexError, KeyError) as error:
        raise ValueError(f"malformed message: {error}") from None
    if not isinstance(kind, int) or not isinstance(serial, int):
        raise ValueError("malformed message")
    return Message(kind=kind, serial=serial, fields=FrozenDict(fields), body=body)


def marshal(signature: str, values: tuple[Value, ...]) -> bytes:
    """The bytes of ``values``, one for each complete type in ``signature``."""
    out = bytearray()
    types = _types(signature)
    if len(types) != len(values):
        raise ValueError(f"{len(values)} values for the signature {signature!r}")
    for code, value in zip(types, values, strict=True):
        _put(out, code, value)
    return bytes(out)


def unmarshal(signature: str, raw: bytes) -> tuple[Value, ...]:
    """The reverse of :func:`marshal`. ValueError when the bytes are not what the signature says."""
    try:
        return _Reader(raw, "<").all(signature)
    except (struct.error, IndexError, KeyError) as error:
        raise ValueError(f"malformed value: {error}") from None


def _order(raw: bytes) -> str:
    if raw[:1] not in (b"l", b"B"):
        raise ValueError("no byte order")
    return "<" if raw[:1] == b"l" else ">"


def _types(signature: str) -> list[str]:
    """The complete types, one after the other, in a signature."""
    found = []
    position = 0
    while position < len(signature):
        end = _end(signature, position)
        found.append(signature[position:end])
        position = end
    return found


def _end(signature: str, start: int) -> int:
    """Where the complete type that begins at ``start`` ends."""
    position = start
    while signature[position : position + 1] == "a":
        position += 1
    code = signature[position : position + 1]
    if code not in _ALIGN or position - start > _DEPTH:
        raise ValueError(f"no signature: {signature[:255]!r}")
    if code not in "({":
        return position + 1
    closing, position = {"(": ")", "{": "}"}[code], position + 1
    while signature[position : position + 1] != closing:
        position = _end(signature, position)
    return position + 1


def _put(out: bytearray, code: str, value: Value) -> None:
    kind = code[0]
    out += bytes(-len(out) % _ALIGN[kind])
    if kind in _FIXED:
        out += struct.pack("<" + _FIXED[kind], value)
    elif kind in "sog" and isinstance(value, str):
        text = value.encode()
        out += struct.pack("<B" if kind == "g" else "<I", len(text)) + text + b"\0"
    elif kind == "v" and isinstance(value, tuple) and isinstance(value[0], str):
        _put(out, "g", value[0])
        _put(out, value[0], value[1])
    elif kind == "a" and isinstance(value, (tuple, bytes)):
        _put_array(out, code[1:], value)
    elif kind in "({" and isinstance(value, tuple):
        for inner, item in zip(_types(code[1:-1]), value, strict=True):
            _put(out, inner, item)
    else:
        raise ValueError(f"{type(value).__name__} is no value of type {code}")


def _put_array(out: bytearray, inner: str, items: tuple[Value, ...] | bytes) -> None:
    place = len(out)
    out += bytes(4)
    out += bytes(-len(out) % _ALIGN[inner[0]])
    start = len(out)
    if isinstance(items, bytes):
        out += items
    else:
        for item in items:
            _put(out, inner, item)
    struct.pack_into("<I", out, place, len(out) - start)


class _Reader:
    def __init__(self, raw: bytes, order: str) -> None:
        self._raw = raw
        self._order = order
        self._at = 0

    def all(self, signature: str) -> tuple[Value, ...]:
        return tuple(self.take(code, 0) for code in _types(signature))

    def align(self, size: int) -> None:
        self._at += -self._at % size

    def take(self, code: str, depth: int) -> Value:
        if depth > _DEPTH:
            raise ValueError("nested too deep")
        kind = code[0]
        self.align(_ALIGN[kind])
        if kind in _FIXED:
            value = self._fixed(kind)
            return bool(value) if kind == "b" else value
        if kind in "sog":
            return self._text(kind)
        if kind == "v":
            (inner,) = _types(self._text("g"))
            return inner, self.take(inner, depth + 1)
        if kind == "a":
            return self._array(code[1:], depth)
        return tuple(self.take(part, depth + 1) for part in _types(code[1:-1]))

    def _fixed(self, kind: str) -> int | float:
        packed = self._order + _FIXED[kind]
        value: int | float = struct.unpack_from(packed, self._raw, self._at)[0]
        self._at += struct.calcsize(packed)
        return value

    def _text(self, kind: str) -> str:
        length = int(self._fixed("y" if kind == "g" else "u"))  # trusted: a number already
        end = self._at + length
        if self._raw[end : end + 1] != b"\0":
            raise ValueError("text without an end")
        raw, self._at = self._raw[self._at : end], end + 1
        return raw.decode("utf-8", "surrogateescape")

    def _array(self, inner: str, depth: int) -> Value:
        length = int(self._fixed("u"))  # trusted: a number already
        self.align(_ALIGN[inner[0]])
        end = self._at + length
        if end > len(self._raw):
            raise ValueError("an array beyond the end")
        if inner == "y":
            raw, self._at = self._raw[self._at : end], end
            return raw
        items = []
        while self._at < end:
            items.append(self.take(inner, depth + 1))
        return tuple(items)


def _pairs(value: Value) -> list[tuple[Value, Value]]:
    if not isinstance(value, tuple):
        return []
    return [(item[0], item[1]) for item in value if isinstance(item, tuple)]


def _second(value: Value) -> Value:
    return value[1] if isinstance(value, tuple) else value
