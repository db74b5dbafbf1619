"""Programs without containers, a streaming server for them, and a SPDY client that shares no code with the server."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
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
from ociworks.spec.runtime import Process, User
from tests.cri.nodes import config_below

__all__ = ["CONTAINER", "POD", "Containers", "Node", "SpdyClient", "container_record", "node"]

CONTAINER = "c" * 64
POD = "a" * 64


class Program:
    """A child of ours with the face of a container's process."""

    def __init__(self, process: subprocess.Popen[bytes], console: Console | None) -> None:
        self._process = process
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


class Containers:
    """One container, whose further programs run on the host."""

    def __init__(self) -> None:
        self.begun: list[Program] = []
        self.attachments: list[Any] = []
        self.failure: Exception | None = None

    def open(self, id: str) -> Containers:
        assert id == CONTAINER
        return self

    def exec_process(self, id: str, command: Sequence[str], *, tty: bool) -> Process:
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
            args.args, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=bool(args.terminal)
        )
        if args.terminal:
            os.close(slave)
        self.begun.append(Program(process, console))
        return self.begun[-1]

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


@contextlib.contextmanager
def node(place: Path, **settings: Any) -> Iterator[Node]:
    """Listening, with one running container; nothing of it is left afterwards."""
    threads, fds = threading.active_count(), len(os.listdir("/proc/self/fd"))
    config = config_below(place, **settings)
    os.makedirs(config.root, exist_ok=True)
    with Store(os.path.join(config.root, "streams.db")) as store:
        store.sandboxes.add(
            SandboxRecord(id=POD, name="pod", phase="ready", created_at=1, handler="", config=b"")
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
    assert len(os.listdir("/proc/self/fd")) <= fds


class SpdyClient:
    """A client over a blocking socket, of the frames as the draft has them."""

    def __init__(self, url: str, *versions: str, method: str = "POST", headers: Sequence[str] = ()) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=20)
        lines = [f"{method} {parts.path} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += ["Connection: Upgrade", "Upgrade: SPDY/3.1"]
        lines += [f"X-Stream-Protocol-Version: {version}" for version in versions]
        self.socket.sendall("\r\n".join([*lines, *headers, "", ""]).encode())
        self._file = self.socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        self.headers: dict[str, str] = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(": ")
            self.headers[name.lower()] = value
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._next = 1
        self.received: dict[int, bytearray] = {}
        self.ended: set[int] = set()
        self.replies: set[int] = set()
        self.resets: dict[int, int] = {}
        self.gone = False

    def open(self, fin: bool = False, **headers: str) -> int:
        stream, self._next = self._next, self._next + 2
        raw = struct.pack("!I", len(headers))
        for text in (text.encode() for pair in headers.items() for text in pair):
            raw += struct.pack("!I", len(text)) + text
        block = self._deflate.compress(raw) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        body = struct.pack("!IIBB", stream, 0, 0, 0) + block
        self.control(1, body, 1 if fin else 0)
        self.received[stream] = bytearray()
        return stream

    def command_streams(self, *names: str) -> dict[str, int]:
        return {name: self.open(streamtype=name) for name in names}

    def control(self, kind: int, body: bytes, flags: int = 0) -> None:
        self.socket.sendall(struct.pack("!HHI", 0x8003, kind, flags << 24 | len(body)) + body)

    def send(self, stream: int, data: bytes, fin: bool = False) -> None:
        self.socket.sendall(struct.pack("!II", stream, (1 << 24 if fin else 0) | len(data)) + data)

    def frame(self) -> bool:
        """Read one; False at the end of the connection."""
        head = self._file.read(8)
        if len(head) < 8:
            return False
        first, second = struct.unpack("!II", head)
        body = self._file.read(second & 0xFFFFFF)
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
        deadline = time.monotonic() + 20
        while text not in self.received[stream]:
            assert self.frame(), bytes(self.received[stream])
            assert time.monotonic() < deadline

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
