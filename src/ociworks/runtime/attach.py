"""Attached to a detached container: what it writes from now on, and what is typed."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple, Self

from ociworks.errors import ContainerError, ContainerTimeout, quote
from ociworks.runtime._init import wire
from ociworks.runtime.shim import messages

__all__ = ["Attachment", "Chunk", "DetachKeys"]

_STREAMS: Final[dict[bytes, Literal["stdout", "stderr"]]] = {
    messages.STDOUT: "stdout",
    messages.STDERR: "stderr",
}


class Chunk(NamedTuple):
    """Some output."""

    stream: Literal["stdout", "stderr"]
    data: bytes


class Attachment:
    """A connection to a container's streams; iterate over it for output, close it (or leave the block) to detach.

    Whoever reads too slowly loses output, never the container or its log: :attr:`missed` counts it.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self.missed = 0
        """Bytes of output that were dropped because we did not read."""
        self.status: int | None = None
        """The exit status of the container, when it has ended while we were attached."""

    def fileno(self) -> int:
        """The descriptor, for select and friends: readable when :meth:`read` returns at once."""
        return self._channel.fileno()

    def read(self, timeout: float | None = None) -> Chunk | None:
        """The next output; None at the end. Raises ContainerTimeout after ``timeout`` seconds."""
        while True:
            if not self._readable(timeout):
                raise ContainerTimeout("no output of the container", timeout=timeout or 0.0)
            try:
                kind, body, _ = wire.receive(self._channel, 0)
            except ConnectionResetError:
                return None
            if kind in _STREAMS:
                return Chunk(_STREAMS[kind], body)
            if kind == messages.MISSED:
                self.missed += messages.COUNT.unpack(body)[0]
            elif kind == wire.EXITED:
                self.status = wire.unpack_number(body)
            elif not kind:
                return None

    def __iter__(self) -> Iterator[Chunk]:
        while (chunk := self.read()) is not None:
            yield chunk

    def write(self, data: bytes) -> None:
        """Type ``data``; waits while the container does not read. ContainerError when it has ended."""
        for start in range(0, len(data), messages.CHUNK):
            self._send(messages.INPUT, data[start : start + messages.CHUNK])

    def close_stdin(self) -> None:
        """End the container's standard input, for everybody; a terminal has no end."""
        self._send(messages.CLOSE)

    def resize(self, width: int, height: int) -> None:
        """Set the terminal's size in characters."""
        self._send(messages.RESIZE, messages.SIZE.pack(width, height))

    def close(self) -> None:
        """Detach; the container goes on. Again is harmless."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, kind: bytes, body: bytes = b"") -> None:
        try:
            wire.send(self._channel, kind, body)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ContainerError("the container has ended, or its standard input is not attached") from error

    def _readable(self, timeout: float | None) -> bool:
        poller = select.poll()
        poller.register(self._channel, select.POLLIN)
        return bool(poller.poll(None if timeout is None else timeout * 1000))


class DetachKeys:
    r"""Finds the keys that mean "detach" in what is typed, ``ctrl-p,ctrl-q`` for example, as docker and podman do.

    Each key is one character, or ``ctrl-`` and one of ``a`` to ``z`` and ``@ [ \ ] ^ _``. ValueError otherwise.
    """

    def __init__(self, keys: str = "ctrl-p,ctrl-q") -> None:
        self._keys = b"".join(_key(name) for name in keys.split(","))
        self._held = b""

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """What to send on of ``typed``, and whether the keys were pressed; the rest is then not for the container."""
        data = self._held + typed
        found = data.find(self._keys)
        if found >= 0:
            self._held = b""
            return data[:found], True
        keep = max(n for n in range(len(self._keys)) if data.endswith(self._keys[:n]))
        self._held = data[len(data) - keep :]
        return data[: len(data) - keep], False


def _key(name: str) -> bytes:
    letter = name.removeprefix("ctrl-")
    if len(letter) != 1 or not letter.isascii():
        raise ValueError(f"a key to detach: expected one character or ctrl- and one, got {quote(name)}")
    if letter == name:
        return letter.encode()
    code = ord(letter.upper()) - 0x40
    if not 0 <= code < 0x20:
        raise ValueError(f"a key to detach: there is no {quote(name)}")
    return bytes([code])
