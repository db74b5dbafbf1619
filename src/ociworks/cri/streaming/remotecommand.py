"""Sessions of exec and attach: a client's streams on one side, a program's on the other, one loop between them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import attrs

from ociworks.cri.streaming._loop import READ, WRITE
from ociworks.cri.streaming._outcome import Outcome, exit_code
from ociworks.cri.streaming._peer import Gone, Peer
from ociworks.cri.streaming._pipes import OutputName, Pipes
from ociworks.cri.streaming._session import Session
from ociworks.cri.streaming._sizes import Size
from ociworks.cri.streaming.command import CommandWire, Input, InputEnded, Left, Message, Wanted
from ociworks.errors import ContainerError, ContainerTimeout, OciworksError, StreamError
from ociworks.runtime.attach import Attachment
from ociworks.runtime.console import Console

__all__ = ["AttachSession", "CommandSession", "ExecSession", "Relay", "Running"]

_OPENING: Final = 30.0
"""Seconds for a client to open its streams."""
_INPUT: Final = 1 << 16
"""Bytes that wait for a program that does not read; beyond it nothing is read from the client."""
_TYPED: Final = 1 << 13
"""Bytes that an attachment takes at once when it takes any."""
_REST: Final = 1 << 20
"""Bytes of output that are read after a program has ended: another may hold its pipes and write for ever."""


class Running(Protocol):
    """A program of a container that was begun; :class:`~ociworks.runtime.ContainerProcess` is one."""

    @property
    def pid(self) -> int:
        """Its number on the host."""

    @property
    def pidfd(self) -> int:
        """Readable when it has ended."""

    @property
    def console(self) -> Console | None:
        """Its terminal."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, or the negative number of the signal."""

    def end(self) -> None:
        """Kill it if it still runs, and close everything."""


@attrs.frozen(kw_only=True)
class Relay:
    """What a session of a program stands between."""

    peer: Peer
    wire: CommandWire
    wanted: Wanted
    idle: float
    """Seconds without traffic after which it ends."""


class CommandSession(Session):
    """What exec and attach have in common: the client's side."""

    def __init__(self, relay: Relay) -> None:
        super().__init__(relay.peer, relay.idle)
        self.wire = relay.wire
        self.wanted = relay.wanted
        self.input = bytearray()
        """What was typed and not yet taken."""
        self.input_ended = False
        self._size: Size | None = None
        self._connected = False

    def run(self, early: bytes) -> None:
        """To the end; ``early`` came with the request. Raises Gone and StreamError; the program is gone then."""
        with self.closing:
            self.wire.finish(self._outcome(early))
            self.send(self.wire.take())

    def connect(self) -> Outcome:
        """Begin, relay, and say how it ended. Calls :meth:`connected` in between."""
        raise NotImplementedError

    def resize(self, size: Size) -> None:
        """The terminal has another size."""
        raise NotImplementedError

    def received(self, data: bytes) -> None:
        """Sort out what the client said; of sizes only the latest counts."""
        messages = self.wire.receive(data)
        self.send(self.wire.take())
        for message in messages:
            self._handle(message)
        self._apply_size()

    def has_room(self) -> bool:
        """Whether the program takes what the client types."""
        return len(self.input) < _INPUT

    def connected(self) -> None:
        """There is a program: what the client said before concerns it."""
        self._connected = True
        self._apply_size()

    def output(self, stream: OutputName, data: bytes) -> None:
        """Give the client output."""
        self.wire.output(stream, data)
        self.send(self.wire.take())

    def give_up_input(self) -> None:
        """Nobody will read it."""
        self.input_ended = True
        self.input.clear()

    def _outcome(self, early: bytes) -> Outcome:
        self.received(early)
        deadline = time.monotonic() + _OPENING
        while not self.wire.ready:
            if not self.turn(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                raise StreamError("the client did not open every stream in time")
        try:
            return self.connect()
        except StreamError:
            raise
        except OciworksError as error:
            return Outcome(failure=str(error))

    def _handle(self, message: Message) -> None:
        if isinstance(message, Input):
            if not self.input_ended:
                self.input += message.data
        elif isinstance(message, InputEnded):
            self.input_ended = True
        elif isinstance(message, Size):
            self._size = message
        elif isinstance(message, Left):
            raise Gone

    def _apply_size(self) -> None:
        if self._size is not None and self._connected:
            size, self._size = self._size, None
            self.resize(size)


class ExecSession(CommandSession):
    """A program that begins and ends with its client: it is killed when the client goes first."""

    def __init__(self, relay: Relay, begin: Callable[[Pipes], Running]) -> None:
        super().__init__(relay)
        self._begin = begin
        self._console: Console | None = None
        self._ended = False

    def connect(self) -> Outcome:
        """Begin it, relay to its end, and give its exit code."""
        wanted = self.wanted
        piped = not wanted.tty
        self._pipes = self.closing.enter_context(
            Pipes(
                stdin=piped and wanted.stdin, stdout=piped and wanted.stdout, stderr=piped and wanted.stderr
            )
        )
        running = self._begin(self._pipes)
        self.closing.callback(running.end)
        self._pipes.begun()
        if running.console is not None:
            self._console = running.console
            self._pipes.use_terminal(running.console.fileno(), stdin=wanted.stdin)
        self.loop.watch(running.pidfd, READ, self._on_end)
        self.connected()
        while not self._ended:
            self.turn()
        self.loop.ignore(running.pidfd)
        self._read_the_rest()
        return Outcome(code=exit_code(running.wait()))

    def resize(self, size: Size) -> None:
        """Set the size of its terminal, if it has one."""
        if self._console is not None:
            self._console.resize(size.width, size.height)

    def adjust(self) -> None:
        """Wait for output when there is room for it, and for the program to read when there is input."""
        super().adjust()
        if not self._connected or self._ended:
            return
        for fd in self._pipes.outputs:
            if self.is_slow():
                self.loop.ignore(fd)
            else:
                self.loop.watch(fd, READ, partial(self._on_output, fd))
        self._adjust_input()

    def _adjust_input(self) -> None:
        pipes = self._pipes
        if pipes.stdin < 0:
            self.give_up_input()
        elif self.input:
            self.loop.watch(pipes.stdin, WRITE, self._on_input)
        else:
            self.loop.ignore(pipes.stdin)
            if self.input_ended:
                pipes.end_input()

    def _on_end(self, _: int) -> None:
        self._ended = True

    def _on_output(self, fd: int, _: int = READ) -> int:
        """Relay once; how many bytes."""
        data = self._pipes.read(fd)
        if data:
            self.output(self._pipes.outputs[fd], data)
        elif data is not None:
            self.loop.ignore(fd)
            self._pipes.end_output(fd)
        return len(data or b"")

    def _on_input(self, _: int) -> None:
        try:
            del self.input[: self._pipes.write(self.input)]
        except BrokenPipeError:
            self.loop.ignore(self._pipes.stdin)
            self._pipes.end_input()
            self.give_up_input()

    def _read_the_rest(self) -> None:
        """What it wrote before its end; what others write later to the same pipes is not waited for."""
        for fd in list(self._pipes.outputs):
            self.loop.ignore(fd)
        if self._pipes.stdin >= 0:
            self.loop.ignore(self._pipes.stdin)
        self.give_up_input()
        left = _REST
        while self._pipes.outputs and left > 0:
            if self.is_slow():
                self.turn()
                continue
            read = sum(self._on_output(fd) for fd in list(self._pipes.outputs))
            if not read:
                return
            left -= read


class AttachSession(CommandSession):
    """The streams of a container's own program, which goes on when the client goes."""

    def __init__(
        self, relay: Relay, attach: Callable[[], Attachment], *, stdin: bool, stdin_once: bool
    ) -> None:
        super().__init__(relay)
        self._attach = attach
        self._stdin, self._stdin_once = stdin, stdin_once
        self._over = False
        self._told_end = False

    def connect(self) -> Outcome:
        """Relay until the container ends."""
        self._attachment = self.closing.enter_context(self._attach())
        self._writing = os.dup(self._attachment.fileno())
        self.closing.callback(os.close, self._writing)
        if not self._stdin:  # what is typed is lost, as with other servers
            self.give_up_input()
        self.connected()
        while not self._over:
            self.turn()
        return Outcome()

    def resize(self, size: Size) -> None:
        """Set the size of the container's terminal; one without is left alone."""
        with contextlib.suppress(ContainerError):
            self._attachment.resize(size.width, size.height)

    def adjust(self) -> None:
        """Wait for output when there is room for it, and for the container to read when there is input."""
        super().adjust()
        if not self._connected or self._over:
            return
        if self.is_slow():  # the container's shim drops what we do not read
            self.loop.ignore(self._attachment.fileno())
        else:
            self.loop.watch(self._attachment.fileno(), READ, self._on_output)
        if self.input:
            self.loop.watch(self._writing, WRITE, self._on_input)
        else:
            self.loop.ignore(self._writing)
            self._end_input()

    def _on_output(self, _: int) -> None:
        try:
            chunk = self._attachment.read(0)
        except ContainerTimeout:
            return
        if chunk is not None:
            self.output(chunk.stream, chunk.data)
        else:
            self._over = True

    def _on_input(self, _: int) -> None:
        data = bytes(self.input[:_TYPED])
        del self.input[: len(data)]
        try:
            self._attachment.write(data)
        except ContainerError:
            self.give_up_input()

    def _end_input(self) -> None:
        if self.input_ended and self._stdin and self._stdin_once and not self._told_end:
            self._told_end = True
            with contextlib.suppress(ContainerError):
                self._attachment.close_stdin()
