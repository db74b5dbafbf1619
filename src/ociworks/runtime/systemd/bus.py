"""A connection to systemd, the system's or a user's: its own socket where it may be used, the message bus otherwise.

::

    us      NUL "AUTH EXTERNAL" and our user ID in hexadecimal, "BEGIN"
    they    "OK" and an identity; from here on messages; on a bus the first is Hello

"BEGIN" does not wait for the answer: systemd's own socket forgets a message that arrives together with it.

Everything waits with one deadline; nothing goes on in the background.
"""

from __future__ import annotations

import os
import select
import socket
import time
from typing import Final, Self

from ociworks.errors import CgroupError, NotSupported
from ociworks.runtime.systemd.message import HEADER, Message, Value, decode, encode, message_size
from ociworks.spec.frozen import FrozenDict

__all__ = ["Bus", "BusError"]

TIMEOUT: Final = 30.0
_CALL, _ANSWER, _ERROR, _SIGNAL = 1, 2, 3, 4
_BUS: Final = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_LINE: Final = 512


class BusError(Exception):
    """The answer to a call was an error; ``name`` is its D-Bus name."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{text or 'no reason given'} ({name})")
        self.name = name


class Bus:
    """One connection; a context manager. ``user``: to the manager of our user instead of the system's."""

    def __init__(self, *, user: bool = False, timeout: float = TIMEOUT) -> None:
        """Raises NotSupported when there is no systemd to talk to, CgroupError when it does not answer."""
        self._deadline = time.monotonic() + timeout
        self._serial = 0
        self._buffer = b""
        self._signals: list[Message] = []
        self._socket, private = _connect(user=user)
        try:
            self._authenticate()
            if not private:
                self.call(*_BUS, "Hello")
        except BaseException:
            self.close()
            raise

    def call(
        self, destination: str, path: str, interface: str, member: str, signature: str = "", *arguments: Value
    ) -> tuple[Value, ...]:
        """Call a method and wait for its answer. Raises BusError for an error, CgroupError for no answer in time."""
        self._serial += 1
        fields = {
            "path": path,
            "interface": interface,
            "member": member,
            "destination": destination,
            "signature": signature,
        }
        message = Message(kind=_CALL, serial=self._serial, fields=FrozenDict(fields), body=arguments)
        self._socket.sendall(encode(message))
        while True:
            answer = self._receive()
            if answer.kind == _SIGNAL:
                self._signals.append(answer)
            elif answer.fields.get("reply_to") == self._serial:
                break
        if answer.kind == _ERROR:
            text = answer.body[0] if answer.body else ""
            raise BusError(answer.text("error"), text if isinstance(text, str) else "")
        return answer.body

    def signal(self, member: str) -> tuple[Value, ...]:
        """The body of the next signal of this name, also one that came during a call."""
        for position, message in enumerate(self._signals):
            if message.text("member") == member:
                del self._signals[position]
                return message.body
        while True:
            message = self._receive()
            if message.kind == _SIGNAL and message.text("member") == member:
                return message.body

    def close(self) -> None:
        """Hang up; again is harmless."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _authenticate(self) -> None:
        identity = str(os.geteuid()).encode("ascii").hex()
        self._socket.sendall(b"\0AUTH EXTERNAL " + identity.encode("ascii") + b"\r\nBEGIN\r\n")
        while b"\r\n" not in self._buffer:
            if len(self._buffer) > _LINE:
                raise CgroupError("systemd: expected one line in answer to AUTH, got more")
            self._more()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        if not line.startswith(b"OK"):
            raise NotSupported("systemd: it does not accept our user; run as root, or as the user it serves")

    def _receive(self) -> Message:
        try:
            while len(self._buffer) < HEADER:
                self._more()
            size = message_size(self._buffer)
            while len(self._buffer) < size:
                self._more()
            raw, self._buffer = self._buffer[:size], self._buffer[size:]
            return decode(raw)
        except ValueError as error:
            raise CgroupError(f"systemd: {error}") from error

    def _more(self) -> None:
        left = self._deadline - time.monotonic()
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        if left <= 0 or not poller.poll(left * 1000):
            raise CgroupError("systemd: no answer in time")
        received = self._socket.recv(1 << 16)
        if not received:
            raise CgroupError("systemd: the connection was closed")
        self._buffer += received


def _connect(*, user: bool) -> tuple[socket.socket, bool]:
    """A connected socket, and whether it is systemd's own."""
    places = (
        _user_places() if user else [("/run/systemd/private", True), ("/run/dbus/system_bus_socket", False)]
    )
    reason = "no address"
    for path, private in places:
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            channel.connect(path)
        except OSError as error:
            channel.close()
            reason = f"{path}: {error.strerror}"
            continue
        return channel, private
    whose = "this user's manager" if user else "the system's"
    raise NotSupported(f"systemd: {whose} cannot be reached ({reason}); use the driver cgroupfs")


def _user_places() -> list[tuple[str, bool]]:
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    places = [(f"{runtime}/systemd/private", True)]
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS", "")
    for part in address.split(";"):
        kind, _, keys = part.partition(":")
        path = (
            dict(pair.partition("=")[::2] for pair in keys.split(",")).get("path") if kind == "unix" else None
        )
        if path:
            places.append((path, False))
    return [*places, (f"{runtime}/bus", False)]
