"""Network devices over rtnetlink(7): find, move to another network namespace, address, bring up.

A netlink socket belongs to the network namespace in which it was made, whoever holds it: one that an init made and
handed over lets its caller configure the container's network without ever entering the namespace.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import TYPE_CHECKING, Final, Self

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Address", "Link", "Netlink"]

_GETLINK: Final = 18
_SETLINK: Final = 19
_NEWADDR: Final = 20
_GETADDR: Final = 22
_ERROR: Final = 2
_DONE: Final = 3
_REQUEST: Final = 0x01
_ACK: Final = 0x04
_CREATE: Final = 0x400
_REPLACE: Final = 0x100
_DUMP: Final = 0x300

_IFLA_IFNAME: Final = 3
_IFLA_NET_NS_PID: Final = 19
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_BROADCAST: Final = 4
_IFA_FLAGS: Final = 8
_IFF_UP: Final = 1
_KEPT_FLAGS: Final = 0x02 | 0x80 | 0x200
"""IFA_F_NODAD, IFA_F_PERMANENT and IFA_F_NOPREFIXROUTE: what the administrator chose, not what the kernel found out."""

_HEADER: Final = struct.Struct("=IHHII")
_LINK: Final = struct.Struct("=BxHiII")
_ADDRESS: Final = struct.Struct("=BBBBI")
_ATTRIBUTE: Final = struct.Struct("=HH")
_NUMBER: Final = struct.Struct("=I")
_INT: Final = struct.Struct("=i")
_RECEIVE: Final = 1 << 18
_MAX_NAME: Final = 15


@frozen(kw_only=True)
class Link:
    """A network device as its namespace numbers and names it."""

    index: int
    name: str
    up: bool


@frozen(kw_only=True)
class Address:
    """An address of a device; the addresses in network byte order, empty when the kernel gave none."""

    family: int
    prefix: int
    flags: int
    """IFA_F_*, with IFA_F_PERMANENT (0x80)."""
    scope: int
    """0 is global."""
    address: bytes
    local: bytes
    broadcast: bytes

    @property
    def permanent(self) -> bool:
        """Whether somebody gave the address to stay, and to be reached by (RT_SCOPE_UNIVERSE)."""
        return bool(self.flags & 0x80) and self.scope == 0


class Netlink:
    """A NETLINK_ROUTE socket: one of this namespace, or ``socket``, which stays the caller's. A context manager.

    Raises OSError with the device as its filename.
    """

    def __init__(self, channel: socket.socket | None = None) -> None:
        self._own = channel is None
        self._socket = channel or socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._own:
            self._socket.close()

    def links(self) -> tuple[Link, ...]:
        """Every device of the namespace."""
        return tuple(_links(self._dump(_GETLINK, _LINK.pack(0, 0, 0, 0, 0))))

    def link(self, name: str) -> Link:
        """The device of this name. OSError(ENODEV)."""
        for found in self.links():
            if found.name == name:
                return found
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV), name)

    def addresses(self, link: Link) -> tuple[Address, ...]:
        """The addresses of a device, of every family."""
        return tuple(_addresses(self._dump(_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0)), link.index))

    def move(self, link: Link, pid: int, name: str) -> None:
        """Move a device into the network namespace of a process, under another name; it is down then.

        ``%d`` in the name becomes the first free number there.
        """
        raw = _name(name)
        attributes = _attribute(_IFLA_NET_NS_PID, _NUMBER.pack(pid)) + _attribute(_IFLA_IFNAME, raw)
        self._do(_SETLINK, _LINK.pack(0, 0, link.index, 0, 0) + attributes, link.name)

    def add_address(self, link: Link, address: Address) -> None:
        """Give a device an address."""
        head = _ADDRESS.pack(
            address.family, address.prefix, address.flags & _KEPT_FLAGS & 0xFF, address.scope, link.index
        )
        attributes = _attribute(_IFA_FLAGS, _NUMBER.pack(address.flags & _KEPT_FLAGS))
        for kind, value in (
            (_IFA_LOCAL, address.local),
            (_IFA_ADDRESS, address.address),
            (_IFA_BROADCAST, address.broadcast),
        ):
            if value:
                attributes += _attribute(kind, value)
        self._do(_NEWADDR, head + attributes, link.name, _CREATE | _REPLACE)

    def set_up(self, link: Link) -> None:
        """Bring a device up."""
        self._do(_SETLINK, _LINK.pack(0, 0, link.index, _IFF_UP, _IFF_UP), link.name)

    def _do(self, kind: int, body: bytes, name: str, flags: int = 0) -> None:
        self._send(kind, body, _ACK | flags)
        for received, payload in self._messages():
            if received == _ERROR:
                number = -_INT.unpack_from(payload)[0]
                if number:
                    raise OSError(number, os.strerror(number), name)
                return

    def _dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        self._send(kind, body, _DUMP)
        for received, payload in self._messages():
            if received == _DONE:
                return
            if received == _ERROR:
                number = -_INT.unpack_from(payload)[0]
                raise OSError(number, os.strerror(number))
            yield payload

    def _send(self, kind: int, body: bytes, flags: int) -> None:
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, self._sequence, 0)
        self._socket.send(header + body)

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        """The answers to the last request, as (type, body), without an end of their own."""
        while True:
            data = self._socket.recv(_RECEIVE)
            place = 0
            while place + _HEADER.size <= len(data):
                length, kind, _, sequence, _ = _HEADER.unpack_from(data, place)
                if length < _HEADER.size:
                    raise OSError(errno.EPROTO, "a netlink message that is shorter than its header")
                if sequence == self._sequence:
                    yield kind, data[place + _HEADER.size : place + length]
                place += (length + 3) & ~3


def _links(payloads: Iterator[bytes]) -> Iterator[Link]:
    for payload in payloads:
        _, _, index, flags, _ = _LINK.unpack_from(payload)
        name = _attributes(payload, _LINK.size).get(_IFLA_IFNAME, b"").rstrip(b"\0")
        yield Link(index=index, name=os.fsdecode(name), up=bool(flags & _IFF_UP))


def _addresses(payloads: Iterator[bytes], wanted: int) -> Iterator[Address]:
    for payload in payloads:
        family, prefix, flags, scope, index = _ADDRESS.unpack_from(payload)
        if index != wanted:
            continue
        found = _attributes(payload, _ADDRESS.size)
        if _IFA_FLAGS in found:
            flags = _NUMBER.unpack(found[_IFA_FLAGS])[0]
        yield Address(
            family=family,
            prefix=prefix,
            flags=flags,
            scope=scope,
            address=found.get(_IFA_ADDRESS, b""),
            local=found.get(_IFA_LOCAL, b""),
            broadcast=found.get(_IFA_BROADCAST, b""),
        )


def _attributes(payload: bytes, place: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while place + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, place)
        if length < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = payload[place + _ATTRIBUTE.size : place + length]
        place += (length + 3) & ~3
    return found


def _attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def _name(name: str) -> bytes:
    raw = os.fsencode(name)
    if not raw or len(raw) > _MAX_NAME or b"\0" in raw or b"/" in raw:
        raise OSError(errno.EINVAL, "no name of a network device", name)
    return raw + b"\0"
