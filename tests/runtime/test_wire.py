"""Messages between caller, launcher and init: whole or refused (RT-23)."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.runtime._init import wire

TEXT = st.text(st.characters(codec="utf-8"), max_size=300)


@pytest.fixture
def packets() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    yield ends
    for end in ends:
        end.close()


@pytest.fixture
def stream() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    yield ends
    for end in ends:
        end.close()


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), TEXT, TEXT, TEXT)
def test_failures_come_back(number: int, index: int, step: str, text: str, path: str) -> None:
    """Every field, with NUL made visible."""
    parts = [part.replace("\0", "\\0") for part in (step, text, path)]
    assert wire.unpack_failure(wire.pack_failure(number, index, step, text, path)) == (number, index, *parts)


@given(st.binary(max_size=200))
def test_failures_are_parsed_or_refused(body: bytes) -> None:
    """Whatever an init says, the caller gets fields or a ProtocolError."""
    try:
        number, index, *parts = wire.unpack_failure(body)
    except wire.ProtocolError:
        return
    assert 0 <= number < 2**32
    assert 0 <= index < 2**32
    assert all(isinstance(part, str) for part in parts)


@given(st.binary(max_size=40))
def test_numbers_have_their_length(body: bytes) -> None:
    """Eight bytes, nothing else."""
    if len(body) == 8:
        assert wire.pack_number(wire.unpack_number(body)) == body
    else:
        with pytest.raises(wire.ProtocolError):
            wire.unpack_number(body)


def test_a_frame_of_any_size(stream: tuple[socket.socket, socket.socket]) -> None:
    """A request that is larger than the socket's buffer, with its descriptors."""
    ours, theirs = stream
    request = {"kind": "spawn", "ops": (("x", b"\0" * 3_000_000),), "n": -1, "text": "ü\udcff"}
    reader, writer = os.pipe()
    thread = threading.Thread(target=wire.send_frame, args=(ours, request, (writer,)))
    thread.start()
    received = wire.receive_frame(theirs)
    thread.join(60)
    os.close(writer)
    assert received is not None
    found, fds = received
    assert found == request
    os.write(fds[0], b"through")
    os.close(fds[0])
    assert os.read(reader, 10) == b"through"
    os.close(reader)


def test_end_of_file(stream: tuple[socket.socket, socket.socket]) -> None:
    """Between frames it is the end, inside one an error."""
    ours, theirs = stream
    ours.sendall(struct.pack("!II", 100, 0) + b"half")
    ours.shutdown(socket.SHUT_WR)
    with pytest.raises(wire.ProtocolError, match="end of file"):
        wire.receive_frame(theirs)
    assert wire.receive_frame(theirs) is None


@pytest.mark.parametrize("header", [(wire.MAX_FRAME + 1, 0), (0, 1), (2**32 - 1, 0)])
def test_a_frame_that_lies(stream: tuple[socket.socket, socket.socket], header: tuple[int, int]) -> None:
    """A length beyond the bound and descriptors that are not there are refused before anything is read."""
    ours, theirs = stream
    ours.sendall(struct.pack("!II", *header))
    with pytest.raises(wire.ProtocolError):
        wire.receive_frame(theirs)


def test_too_much_is_not_sent(stream: tuple[socket.socket, socket.socket]) -> None:
    """The sender has the bound too."""
    with pytest.raises(OSError, match="larger") as caught:
        wire.send_frame(stream[0], {}, (0,) * (wire.MAX_FDS + 1))
    assert caught.value.errno == errno.EMSGSIZE


def test_descriptors_that_nobody_asked_for_are_closed(packets: tuple[socket.socket, socket.socket]) -> None:
    """An init that sends many gets an error, and none stays open here."""
    ours, theirs = packets
    before = sorted(os.listdir("/proc/self/fd"))
    wire.send(ours, wire.CONSOLE, b"", [0] * 20)
    with pytest.raises(wire.ProtocolError, match="cut"):
        wire.receive(theirs)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_received_descriptors_are_not_inherited(packets: tuple[socket.socket, socket.socket]) -> None:
    """Close-on-exec from the first moment."""
    ours, theirs = packets
    wire.send(ours, wire.CONSOLE, b"", [0])
    kind, body, fds = wire.receive(theirs)
    assert (kind, body) == (wire.CONSOLE, b"")
    assert not os.get_inheritable(fds[0])
    os.close(fds[0])
