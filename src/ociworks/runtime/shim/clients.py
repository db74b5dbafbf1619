"""Connections to a shim: who asks, who is attached, and who is too slow to matter.

A client can lose output, be cut off, or be refused; it can never make the container or its log wait. Output that a
client does not read is kept up to ``MOST_WAITING`` bytes, then dropped and counted. What it types goes no further than
the container reads: then it waits, and nobody else.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct
import time

from ociworks.runtime._init import wire
from ociworks.runtime.shim import messages
from ociworks.runtime.shim.loop import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final, Protocol

    from ociworks.runtime.shim.input import Input
    from ociworks.runtime.shim.loop import Loop

    class Container(Protocol):
        """What clients ask of the one who holds the container."""

        input: Input | None
        input_once: bool
        status: int | None

        def resize(self, width: int, height: int) -> None: ...
        def reopen(self) -> None: ...
        def quit(self) -> None: ...


__all__ = ["Clients"]

MOST_CLIENTS: Final = 64
MOST_WAITING: Final = 256 << 10
PATIENCE: Final = 5.0
"""Seconds for a first request after connecting, and for the last words to somebody who does not read."""
_CREDENTIALS: Final = struct.Struct("3i")
_FLAGS: Final = messages.WITH_STDIN | messages.WITH_STDOUT | messages.WITH_STDERR


class _Client:
    """One connection."""

    def __init__(self, owner: Clients, channel: _socket.socket) -> None:
        self._owner, self.channel = owner, channel
        self.fd = channel.fileno()
        self.deadline: float | None = time.monotonic() + PATIENCE
        self.attached = 0
        self.waits = False
        self._queue: list[bytes] = []
        self._queued = 0
        self._missed = 0
        self._deaf = False
        channel.settimeout(0)
        owner.loop.watch(self.fd, READ, self._ready)

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._queue and not self._missed

    def say(self, kind: bytes, body: bytes = b"") -> None:
        """Send a message, or keep it until the client reads."""
        message = kind + body
        if self._queue or not self._send(message):
            self._queue.append(message)
            self._queued += len(message)
            self.listen()

    def relay(self, kind: bytes, data: bytes) -> None:
        """Send output, or drop it when too much waits already."""
        for start in range(0, len(data), messages.CHUNK):
            if self._missed or self._queued > MOST_WAITING:
                self._missed += len(data) - start
                return
            self.say(kind, data[start : start + messages.CHUNK])

    def fail(self, number: int, text: str) -> None:
        """Refuse a request."""
        self.say(wire.FAILED, wire.pack_failure(number, 0, "shim", text, ""))

    def listen(self) -> None:
        """Wait for what matters now: its requests unless its typing must wait, and room when something is queued."""
        full = self._owner.container.input is not None and self._owner.container.input.full
        self._deaf = bool(self.attached & messages.WITH_STDIN) and full
        events = (0 if self._deaf else READ) | (WRITE if self._queue else 0)
        if self.fd in self._owner.members:
            self._owner.loop.change(self.fd, events)

    def _send(self, message: bytes) -> bool:
        try:
            self.channel.send(message)
        except BlockingIOError:
            return False
        except OSError:
            self._owner.drop(self)
        return True

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if events & ~WRITE and self.fd in self._owner.members:
            self._receive()

    def _flush(self) -> None:
        while self._queue and self._send(self._queue[0]):
            self._queued -= len(self._queue.pop(0))
        if self.fd not in self._owner.members:
            return
        if not self._queue and self._missed:
            missed, self._missed = self._missed, 0
            self.say(messages.MISSED, messages.COUNT.pack(missed))
        self.listen()

    def _receive(self) -> None:
        try:
            kind, body, _ = wire.receive(self.channel, 0)
        except BlockingIOError:
            return
        except (OSError, wire.ProtocolError):
            kind, body = b"", b""
        if not kind:
            self._owner.drop(self)
            return
        if self._owner.container.status is None:
            self.deadline = None
        self._owner.handle(self, kind, body)


class Clients:
    """The listening socket and everybody who came through it."""

    def __init__(self, loop: Loop, listener: _socket.socket, container: Container) -> None:
        self.loop, self.container = loop, container
        self._listener = listener
        self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self.members: dict[int, _Client] = {}
        self._operations: dict[bytes, Callable[[_Client, bytes], None]] = {
            messages.ATTACH: self._attach,
            messages.WAIT: self._wait,
            messages.RESIZE: self._resize,
            messages.REOPEN: self._reopen,
            messages.QUIT: self._quit,
            messages.INPUT: self._input,
            messages.CLOSE: self._close,
        }
        listener.settimeout(0)
        loop.watch(listener.fileno(), READ, self._accept)

    def output(self, kind: bytes, data: bytes) -> None:
        """Relay output to those who are attached to that stream."""
        wanted = messages.WITH_STDERR if kind == messages.STDERR else messages.WITH_STDOUT
        for client in list(self.members.values()):
            if client.attached & wanted:
                client.relay(kind, data)

    def ended(self, status: int) -> None:
        """The last words: tell the exit status to everybody who waits or is attached."""
        for client in list(self.members.values()):
            client.deadline = time.monotonic() + PATIENCE
            if client.attached or client.waits:
                client.say(wire.EXITED, wire.pack_number(status))

    def room(self) -> None:
        """The container takes input again."""
        for client in list(self.members.values()):
            client.listen()

    def expire(self) -> float | None:
        """Cut off whoever let a deadline pass; how many seconds there are until the next one."""
        now = time.monotonic()
        for client in list(self.members.values()):
            if client.deadline is not None and (client.deadline <= now or self._over(client)):
                self.drop(client)
        deadlines = [client.deadline for client in self.members.values() if client.deadline is not None]
        return max(0.0, min(deadlines) - now) if deadlines else None

    def drop(self, client: _Client) -> None:
        """End a connection; the input ends with the one who typed when it may be used only once."""
        if self.members.pop(client.fd, None) is None:
            return
        self.loop.forget(client.fd)
        client.channel.close()
        if client.attached & messages.WITH_STDIN and self.container.input_once and self.container.input:
            self.container.input.end()

    def handle(self, client: _Client, kind: bytes, body: bytes) -> None:
        """One request; whoever asks for something that does not exist is cut off."""
        operation = self._operations.get(kind)
        if operation is None:
            self.drop(client)
            return
        operation(client, body)

    def _over(self, client: _Client) -> bool:
        """Whether the container has ended and this one has heard everything."""
        return self.container.status is not None and client.idle

    def _accept(self, _events: int) -> None:
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined] # noqa: SLF001 - what socket.accept calls
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._refuse()
            return
        channel = _socket.socket(fileno=fd)
        raw = channel.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(raw)[1] not in (0, os.geteuid()) or len(self.members) >= MOST_CLIENTS:
            channel.close()
            return
        client = _Client(self, channel)
        self.members[client.fd] = client

    def _refuse(self) -> None:
        """Out of descriptors: take the connection with the one that is kept for this, and close it."""
        os.close(self._reserve)
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined] # noqa: SLF001
            os.close(fd)
        except OSError:
            pass
        finally:
            self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _attach(self, client: _Client, body: bytes) -> None:
        if len(body) != 1 or not body[0] or body[0] & ~_FLAGS or client.attached:
            self.drop(client)
        elif body[0] & messages.WITH_STDIN and self.container.input is None:
            client.fail(errno.ENXIO, "the container was created without standard input")
        else:
            client.attached = body[0]
            client.say(wire.DONE)
            client.listen()
            self._tell_end(client)

    def _wait(self, client: _Client, _body: bytes) -> None:
        client.waits = True
        self._tell_end(client)

    def _tell_end(self, client: _Client) -> None:
        """For who comes when all is over."""
        if self.container.status is not None:
            client.say(wire.EXITED, wire.pack_number(self.container.status))

    def _resize(self, client: _Client, body: bytes) -> None:
        if len(body) != messages.SIZE.size:
            self.drop(client)
            return
        self._try(client, lambda: self.container.resize(*messages.SIZE.unpack(body)))

    def _reopen(self, client: _Client, _body: bytes) -> None:
        self._try(client, self.container.reopen)

    def _try(self, client: _Client, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            client.fail(error.errno or 0, error.strerror or "")
        else:
            if not client.attached:
                client.say(wire.DONE)

    def _quit(self, _client: _Client, _body: bytes) -> None:
        self.container.quit()

    def _input(self, client: _Client, body: bytes) -> None:
        if not client.attached & messages.WITH_STDIN:
            self.drop(client)
        elif self.container.input is not None:
            self.container.input.write(body)
            client.listen()

    def _close(self, client: _Client, _body: bytes) -> None:
        if not client.attached & messages.WITH_STDIN:
            self.drop(client)
        elif self.container.input is not None:
            self.container.input.end()
