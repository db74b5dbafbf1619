"""Programs without containers, a streaming server for them, and clients that share no code with the server.

The clients are written from the wire: frames of SPDY/3.1 and of RFC 6455 by hand.
"""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import ssl
import struct
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import attrs

from ociworks.cri import CriConfig
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import ContainerRecord, SandboxRecord
from ociworks.cri.store import Store
from ociworks.cri.streaming._dictionary import DICTIONARY
from ociworks.cri.streaming.service import Streaming
from ociworks.runtime.console import Console
from ociworks.spec.runtime import Process, Rlimit, User
from tests.cri.nodes import config_below
from tests.descriptors import changed_since, descriptors

__all__ = [
    "CONTAINER",
    "HOST_POD",
    "POD",
    "Containers",
    "Node",
    "SpdyClient",
    "SpdyFrames",
    "TunnelClient",
    "Upgraded",
    "WebSocketClient",
    "container_record",
    "node",
]

CONTAINER = "c" * 64
POD = "a" * 64
HOST_POD = api.PodSandboxConfig(
    linux=api.LinuxPodSandboxConfig(
        security_context=api.LinuxSandboxSecurityContext(
            namespace_options=api.NamespaceOption(network=api.NODE)
        )
    )
)
"""A pod on the host's network."""


class Program:
    """A child of ours with the face of a container's process."""

    def __init__(
        self, process: subprocess.Popen[bytes], console: Console | None, ended: Callable[[], None]
    ) -> None:
        self._process = process
        self._ended = ended
        self.console = console
        self.pidfd = os.pidfd_open(process.pid)
        self.pid = process.pid

    def wait(self, timeout: float | None = None) -> int:
        return self._process.wait(timeout)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        if self.console is not None:
            self.console.close()
        self._ended()


class Containers:
    """One container, whose further programs run on the host."""

    def __init__(self) -> None:
        self.begun: list[Program] = []
        self.attachments: list[Any] = []
        self.failure: Exception | None = None
        self.ended: Callable[[], None] = lambda: None
        """Called when a program is gone."""

    def open(self, id: str) -> Containers:
        assert id == CONTAINER
        return self

    def exec_process(
        self, id: str, command: Sequence[str], *, tty: bool, limits: tuple[Rlimit, ...] = ()
    ) -> Process:
        return Process(args=tuple(command), cwd="/", user=User(uid=0, gid=0), terminal=tty or None)

    def spawn(self, args: Process, *, stdin: Any = None, stdout: Any = None, stderr: Any = None) -> Program:
        if self.failure is not None:
            raise self.failure
        console = None
        if args.terminal:
            master, slave = os.openpty()
            console = Console(master)
            stdin = stdout = stderr = slave
        process = subprocess.Popen(
            args.args, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
        )
        if args.terminal:
            os.close(slave)
        self.begun.append(Program(process, console, self._tell_end))
        return self.begun[-1]

    def processes(self) -> tuple[int, ...]:
        return tuple(int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid())

    def _tell_end(self) -> None:
        self.ended()

    def attach(self, *, stdin: bool = False, stdout: bool = True, stderr: bool = True) -> Any:
        return self.attachments.pop(0)


def container_record(**changes: Any) -> ContainerRecord:
    config = api.ContainerConfig(stdin=True, stdin_once=True).SerializeToString()
    record = ContainerRecord(
        id=CONTAINER, sandbox_id=POD, name="main", phase="running", handler="", config=config, created_at=1
    )
    return attrs.evolve(record, **changes)


@attrs.frozen(kw_only=True)
class Node:
    """A streaming server and what stands behind it."""

    streaming: Streaming
    containers: Containers
    store: Store
    config: CriConfig

    def exec(self, *command: str, **settings: Any) -> str:
        request = api.ExecRequest(container_id=CONTAINER, cmd=command, **({"stdout": True} | settings))
        return self.streaming.exec(request)

    def forward(self, *ports: int) -> str:
        return self.streaming.port_forward(api.PortForwardRequest(pod_sandbox_id=POD, port=ports))


@contextlib.contextmanager
def node(place: Path, **settings: Any) -> Iterator[Node]:
    """Listening, with one running container; nothing of it is left afterwards."""
    threads, opened = threading.active_count(), descriptors()
    config = config_below(place, **settings)
    os.makedirs(config.root, exist_ok=True)
    with Store(os.path.join(config.root, "streams.db")) as store:
        store.sandboxes.add(
            SandboxRecord(
                id=POD,
                name="pod",
                phase="ready",
                created_at=1,
                handler="",
                config=HOST_POD.SerializeToString(),
            )
        )
        store.containers.add(container_record())
        containers = Containers()
        streaming = Streaming(config, store, containers)
        streaming.start()
        try:
            yield Node(streaming=streaming, containers=containers, store=store, config=config)
        finally:
            streaming.close()
    assert all(program.pidfd == -1 for program in containers.begun)
    assert threading.active_count() == threads
    assert not changed_since(opened)


class Upgraded:
    """A connection on which another protocol is spoken, if the server agreed."""

    def __init__(
        self, url: str, method: str, headers: Sequence[str], context: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(url)
        sock = socket.create_connection((parts.hostname, parts.port), timeout=60)
        self.socket = (
            context.wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False)
            if context
            else sock
        )
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        lines = [f"{method} {path} HTTP/1.1", "Connection: Upgrade", *headers]
        if not any(line.lower().startswith("host:") for line in headers):
            lines.append(f"Host: {parts.netloc}")
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self._file = self.socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self.headers: dict[str, str] = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(": ")
            self.headers[name.lower()] = value

    def exactly(self, size: int) -> bytes:
        return self._file.read(size)

    def raw(self, data: bytes) -> None:
        self.socket.sendall(data)

    def at_end(self) -> bool:
        """Whether the server closes now."""
        try:
            return not self._file.read(1)
        except ConnectionError:
            return True

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def reset(self) -> None:
        """Vanish with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SpdyFrames:
    """The client's side of SPDY; subclasses carry the bytes."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._next = 1
        self.received: dict[int, bytearray] = {}
        self.ended: set[int] = set()
        self.replies: set[int] = set()
        self.resets: dict[int, int] = {}
        self.gone = False

    def raw(self, data: bytes) -> None:
        raise NotImplementedError

    def exactly(self, size: int) -> bytes:
        raise NotImplementedError

    def headers_block(self, headers: dict[str, str]) -> bytes:
        raw = struct.pack("!I", len(headers))
        for text in (text.encode() for pair in headers.items() for text in pair):
            raw += struct.pack("!I", len(text)) + text
        return self.deflated(raw)

    def deflated(self, raw: bytes) -> bytes:
        return self._deflate.compress(raw) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def open(self, fin: bool = False, **headers: str) -> int:
        stream, self._next = self._next, self._next + 2
        self.received[stream] = bytearray()
        body = struct.pack("!IIBB", stream, 0, 0, 0) + self.headers_block(headers)
        self.control(1, body, 1 if fin else 0)
        return stream

    def command_streams(self, *names: str) -> dict[str, int]:
        return {name: self.open(streamtype=name) for name in names}

    def port_streams(self, port: int | str, request: str) -> tuple[int, int]:
        error = self.open(streamtype="error", port=str(port), requestid=request, fin=True)
        return error, self.open(streamtype="data", port=str(port), requestid=request)

    def control(self, kind: int, body: bytes, flags: int = 0) -> None:
        self.raw(struct.pack("!HHI", 0x8003, kind, flags << 24 | len(body)) + body)

    def send(self, stream: int, data: bytes, fin: bool = False) -> None:
        self.raw(struct.pack("!II", stream, (1 << 24 if fin else 0) | len(data)) + data)

    def frame(self) -> bool:
        """Read one; False at the end of the connection."""
        head = self.exactly(8)
        if len(head) < 8:
            return False
        first, second = struct.unpack("!II", head)
        body = self.exactly(second & 0xFFFFFF)
        if not first >> 31:
            self.received[first] += body
            if second >> 24 & 1:
                self.ended.add(first)
            return True
        kind = first & 0xFFFF
        if kind == 2:
            self.replies.add(struct.unpack("!I", body[:4])[0])
            assert self._inflate.decompress(body[4:]) == bytes(4)
        elif kind == 3:
            stream, status = struct.unpack("!II", body)
            self.resets[stream] = status
        elif kind == 7:
            self.gone = True
        return True

    def until_end(self) -> None:
        while self.frame():
            pass

    def until(self, stream: int, text: bytes) -> None:
        while text not in self.received[stream]:
            assert self.frame(), bytes(self.received[stream])

    def until_ended(self, *streams: int) -> None:
        while not self.ended.issuperset(streams):
            assert self.frame(), self.ended


class SpdyClient(Upgraded, SpdyFrames):
    """Over a blocking socket."""

    def __init__(
        self,
        url: str,
        *versions: str,
        method: str = "POST",
        headers: Sequence[str] = (),
        context: ssl.SSLContext | None = None,
    ) -> None:
        offers = [f"X-Stream-Protocol-Version: {version}" for version in versions]
        Upgraded.__init__(self, url, method, ["Upgrade: SPDY/3.1", *offers, *headers], context)
        SpdyFrames.__init__(self)


class WebSocketClient(Upgraded):
    """RFC 6455: short frames, all masked with the same four bytes."""

    MASK = b"\x01\x02\x03\x04"

    def __init__(self, url: str, *protocols: str, headers: Sequence[str] = ()) -> None:
        lines = ["Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        lines.append("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
        if protocols:
            lines.append(f"Sec-WebSocket-Protocol: {', '.join(protocols)}")
        super().__init__(url, "GET", [*lines, *headers])
        self.channels: dict[int, bytearray] = {}
        self.closed: int | None = None
        """The code with which the server closed."""
        self.pongs: list[bytes] = []

    def frame_of(self, opcode: int, data: bytes, fin: bool = True) -> bytes:
        size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xff" + struct.pack("!Q", len(data))
        masked = bytes(byte ^ self.MASK[place % 4] for place, byte in enumerate(data))
        return bytes([opcode | (0x80 if fin else 0)]) + size + self.MASK + masked

    def send(self, channel: int, data: bytes) -> None:
        self.raw(self.frame_of(2, bytes([channel]) + data))

    def message(self) -> tuple[int, bytes] | None:
        """The next frame, None at the end of the connection; the server's frames are whole messages."""
        head = self.exactly(2)
        if len(head) < 2:
            return None
        assert head[0] & 0xF0 == 0x80
        assert not head[1] & 0x80
        size = head[1]
        if size == 126:
            (size,) = struct.unpack("!H", self.exactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self.exactly(8))
        return head[0] & 15, self.exactly(size)

    def read(self) -> bool:
        """Sort one message; False at the end."""
        found = self.message()
        if found is None:
            return False
        opcode, data = found
        if opcode == 8:
            self.closed = struct.unpack("!H", data[:2])[0]
            self.raw(self.frame_of(8, data[:2]))
        elif opcode == 10:
            self.pongs.append(data)
        elif opcode == 1:
            self.channels.setdefault(data[0] - 48, bytearray()).extend(base64.b64decode(data[1:]))
        else:
            self.channels.setdefault(data[0], bytearray()).extend(data[1:])
        return True

    def until_end(self) -> None:
        while self.read():
            pass

    def until(self, channel: int, text: bytes) -> None:
        while text not in self.channels.get(channel, b""):
            assert self.read(), self.channels


class TunnelClient(SpdyFrames):
    """SPDY inside WebSocket messages, as kubectl port-forward has it."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.outer = WebSocketClient(url, "SPDY/3.1+portforward.k8s.io")
        self._inside = bytearray()

    def raw(self, data: bytes) -> None:
        self.outer.raw(self.outer.frame_of(2, data))

    def exactly(self, size: int) -> bytes:
        while len(self._inside) < size and (found := self.outer.message()) is not None and found[0] == 2:
            self._inside += found[1]
        taken = bytes(self._inside[:size])
        del self._inside[:size]
        return taken

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.outer.close()
