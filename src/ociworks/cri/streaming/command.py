"""What passes between a client and a program, whatever carries it: exec and attach over SPDY, without I/O.

=============  ============  ================================================================
stream         direction     holds
=============  ============  ================================================================
``error``      to client     the outcome, once: JSON from version 4 on
``stdin``      from client   bytes, until it is closed
``stdout``     to client     bytes; all output when there is a terminal
``stderr``     to client     bytes; without a terminal only
``resize``     from client   sizes of the terminal; from version 3 on
=============  ============  ================================================================

The client opens them, named by the header ``streamtype``; the program starts when all are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from attrs import frozen

from ociworks.cri.streaming._outcome import Outcome
from ociworks.cri.streaming._sizes import Size, Sizes
from ociworks.cri.streaming.spdy import Data, Event, Opened, Reset, SpdyConnection

__all__ = ["CommandWire", "Input", "InputEnded", "Left", "Message", "SpdyCommand", "Wanted"]

_RESIZES: Final = 3
"""From this version of the protocol on there is a stream of sizes."""


@frozen(kw_only=True)
class Wanted:
    """Which streams a request is about."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False


class Input(NamedTuple):
    """Bytes for standard input."""

    data: bytes


class InputEnded(NamedTuple):
    """Standard input has come to its end."""


class Left(NamedTuple):
    """The client wants no more."""


Message: TypeAlias = Input | InputEnded | Size | Left


class CommandWire(Protocol):
    """One client's side of a program's streams, as bytes of its connection."""

    @property
    def ready(self) -> bool:
        """Whether every stream is there."""

    def receive(self, data: bytes) -> Sequence[Message]:
        """What it said. StreamError for what is not the protocol."""

    def output(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        """Give it output; none where it did not want that."""

    def finish(self, outcome: Outcome) -> None:
        """Tell it the end; the last call."""

    def take(self) -> bytes:
        """What is to be sent, once."""


class SpdyCommand:
    """Over SPDY. ``version`` is that of the remote command protocol, 1 to 4."""

    def __init__(self, wanted: Wanted, version: int) -> None:
        self._connection = SpdyConnection()
        self._version = version
        self._sizes = Sizes()
        self._streams: dict[str, int] = {}
        names = {
            "error": True,
            "stdin": wanted.stdin,
            "stdout": wanted.stdout,
            "stderr": wanted.stderr and not wanted.tty,
            "resize": wanted.tty and version >= _RESIZES,
        }
        self._expected = {name for name, wish in names.items() if wish}

    @property
    def ready(self) -> bool:
        """Whether every stream is there."""
        return self._streams.keys() == self._expected

    def receive(self, data: bytes) -> list[Message]:
        """What the client said. StreamError for what is not the protocol."""
        messages: list[Message] = []
        for event in self._connection.receive(data):
            self._handle(event, messages)
        return messages

    def output(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        """Give the client output; none where it did not want that."""
        if stream in self._streams:
            self._connection.send(self._streams[stream], data)

    def finish(self, outcome: Outcome) -> None:
        """Tell the client the end."""
        if "error" in self._streams:
            self._connection.send(self._streams["error"], outcome.encoded(self._version))
        for stream in self._streams.values():
            self._connection.finish(stream)
        self._connection.go_away()

    def take(self) -> bytes:
        """What is to be sent, once."""
        return self._connection.take()

    def _handle(self, event: Event, messages: list[Message]) -> None:
        if isinstance(event, Opened):
            self._opened(event, messages)
        elif isinstance(event, Data):
            self._received(event, messages)
        elif isinstance(event, Reset):
            if event.stream == self._streams.get("stdin"):
                messages.append(InputEnded())
        else:
            messages.append(Left())

    def _opened(self, event: Opened, messages: list[Message]) -> None:
        name = event.headers.get("streamtype", "").lower()
        if name not in self._expected or name in self._streams:
            self._connection.reset(event.stream)
            return
        self._streams[name] = event.stream
        self._connection.accept(event.stream)
        if event.ended and name == "stdin":
            messages.append(InputEnded())

    def _received(self, event: Data, messages: list[Message]) -> None:
        if event.stream == self._streams.get("stdin"):
            if event.data:
                messages.append(Input(event.data))
            if event.ended:
                messages.append(InputEnded())
        elif event.stream == self._streams.get("resize"):
            size = self._sizes.receive(event.data)
            if size is not None:
                messages.append(size)
