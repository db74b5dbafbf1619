"""Programs and ports of pods with streams: URLs on one side, sessions on the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

from ociworks.cri.config import CriConfig
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import ContainerRecord
from ociworks.cri.store import Store
from ociworks.cri.streaming import execsync
from ociworks.cri.streaming._http import ACCEPTED_VERSIONS, VERSIONS, Refused, Request, accepted
from ociworks.cri.streaming._peer import Peer
from ociworks.cri.streaming._pipes import Pipes
from ociworks.cri.streaming.command import CommandWire, SpdyCommand, Wanted
from ociworks.cri.streaming.remotecommand import AttachSession, ExecSession, Relay, Running
from ociworks.cri.streaming.server import StreamingServer
from ociworks.cri.streaming.tokens import Tokens
from ociworks.errors import InvalidRequest, PodStateError
from ociworks.runtime.attach import Attachment
from ociworks.runtime.stdio import Stream
from ociworks.spec.runtime import Process

__all__ = ["Containers", "Streaming", "Target"]

_SPDY_VERSIONS: Final = {
    "v4.channel.k8s.io": 4,
    "v3.channel.k8s.io": 3,
    "v2.channel.k8s.io": 2,
    "channel.k8s.io": 1,
}
_Waiting: TypeAlias = api.ExecRequest | api.AttachRequest | api.PortForwardRequest


class Target(Protocol):
    """What is needed of a container."""

    def spawn(
        self, args: Process, *, stdin: Stream = ..., stdout: Stream = ..., stderr: Stream = ...
    ) -> Running:
        """Begin a further program."""

    def attach(self, *, stdin: bool = ..., stdout: bool = ..., stderr: bool = ...) -> Attachment:
        """A connection to its own program's streams."""


class Containers(Protocol):
    """What is needed of the containers' part."""

    def open(self, id: str, /) -> Target:
        """The container in its runtime."""

    def exec_process(self, id: str, command: Sequence[str], *, tty: bool) -> Process:
        """What a further program of this container runs as."""


class Streaming:
    """The streaming server and ExecSync of one node."""

    def __init__(self, config: CriConfig, store: Store, containers: Containers) -> None:
        self._config = config
        self._store = store
        self._containers = containers
        self._tokens: Tokens[_Waiting] = Tokens()
        self._server = StreamingServer(config, self._serve)

    def start(self) -> None:
        """Listen. ConfigError when the address cannot be had."""
        self._server.start()

    def close(self) -> None:
        """End every session; again is harmless."""
        self._server.close()

    def exec_sync(self, container_id: str, command: Sequence[str], timeout: int) -> api.ExecSyncResponse:
        """Run a program to its end, in so many seconds (0: any time); 16 MiB of each of its streams are kept.

        Raises InvalidRequest, PodNotFound, PodStateError, DeadlinePassed (it is killed), and what the runtime raises
        for programs that cannot be run.
        """
        if timeout < 0:
            raise InvalidRequest(f"timeout: expected 0 or more seconds, got {timeout}")
        record = self._running(container_id)
        process = self._containers.exec_process(record.id, command, tty=False)
        target = self._containers.open(record.id)
        return execsync.run(
            lambda pipes: _spawn(target, process, pipes),
            Running.end,
            timeout,
            self._config.drain_exec_sync_io_timeout,
        )

    def exec(self, request: api.ExecRequest) -> str:
        """Where the program can be run, once and within a minute.

        Raises InvalidRequest, PodNotFound, PodStateError, TooMany.
        """
        if not request.cmd:
            raise InvalidRequest("cmd: expected a program")
        _wanted(request)
        self._running(request.container_id)
        return self._url("exec", request)

    def attach(self, request: api.AttachRequest) -> str:
        """Where the container's streams can be had; as :meth:`exec`."""
        _wanted(request)
        self._running(request.container_id)
        return self._url("attach", request)

    def _url(self, kind: str, request: _Waiting) -> str:
        base = self._server.base
        return f"{base}/{kind}/{self._tokens.issue(kind, request)}"

    def _running(self, prefix: str) -> ContainerRecord:
        record = self._store.containers.find(prefix)
        if record.phase != "running":
            raise PodStateError(f"container {record.id}: expected a running container, it is {record.phase}")
        return record

    # --- connections ----------------------------------------------------------------------------------

    def _serve(self, peer: Peer, request: Request) -> None:
        waiting = self._tokens.take(request.kind, request.token)
        if isinstance(waiting, api.ExecRequest):
            self._exec(peer, request, waiting)
        elif isinstance(waiting, api.AttachRequest):
            self._attach(peer, request, waiting)
        else:
            raise Refused(404)

    def _exec(self, peer: Peer, request: Request, waiting: api.ExecRequest) -> None:
        relay = self._relay(peer, request, _wanted(waiting))

        def begin(pipes: Pipes) -> Running:
            record = self._running(waiting.container_id)
            process = self._containers.exec_process(record.id, waiting.cmd, tty=waiting.tty)
            return _spawn(self._containers.open(record.id), process, pipes)

        ExecSession(relay, begin).run(request.early)

    def _attach(self, peer: Peer, request: Request, waiting: api.AttachRequest) -> None:
        wanted = _wanted(waiting)
        relay = self._relay(peer, request, wanted)

        def attach() -> Attachment:
            target = self._containers.open(self._running(waiting.container_id).id)
            return target.attach(stdin=wanted.stdin, stdout=wanted.stdout, stderr=wanted.stderr)

        AttachSession(relay, attach, stdin_once=self._stdin_once(waiting.container_id)).run(request.early)

    def _stdin_once(self, id: str) -> bool:
        return api.ContainerConfig.FromString(self._store.containers.find(id).config).stdin_once

    def _relay(self, peer: Peer, request: Request, wanted: Wanted) -> Relay:
        wire = _command_wire(peer, request, wanted)
        return Relay(peer=peer, wire=wire, wanted=wanted, idle=self._config.stream_idle_timeout)


def _spawn(target: Target, process: Process, pipes: Pipes) -> Running:
    stdin, stdout, stderr = pipes.child
    return target.spawn(process, stdin=stdin, stdout=stdout, stderr=stderr)


def _wanted(request: api.ExecRequest | api.AttachRequest) -> Wanted:
    """The streams of a request. InvalidRequest for combinations that mean nothing."""
    if not (request.stdin or request.stdout or request.stderr):
        raise InvalidRequest("stdin, stdout, stderr: expected at least one of them")
    if request.tty and request.stderr:
        raise InvalidRequest("stderr: a terminal has no second stream of output")
    return Wanted(stdin=request.stdin, stdout=request.stdout, stderr=request.stderr, tty=request.tty)


def _command_wire(peer: Peer, request: Request, wanted: Wanted) -> CommandWire:
    """Agree on a protocol and switch to it. Refused when there is none."""
    if request.upgrade == "spdy/3.1":
        name = _negotiated(request.values(VERSIONS.lower()), tuple(_SPDY_VERSIONS))
        peer.write(accepted([("Upgrade", "SPDY/3.1"), *([(VERSIONS, name)] if name else [])]))
        return SpdyCommand(wanted, _SPDY_VERSIONS.get(name, 1))
    raise Refused(403)


def _negotiated(offered: Sequence[str], known: Sequence[str]) -> str:
    """The first that was offered and is known; empty when none was offered. Refused when there is none."""
    if not offered:
        return ""
    for name in offered:
        if name in known:
            return name
    raise Refused(403, [(ACCEPTED_VERSIONS, name) for name in known])
