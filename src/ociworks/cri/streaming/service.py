"""Programs and ports of pods with streams: URLs on one side, sessions on the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

from ociworks.cri.config import CriConfig
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import ContainerRecord
from ociworks.cri.store import Store
from ociworks.cri.streaming import execsync
from ociworks.cri.streaming._http import Refused, Request
from ociworks.cri.streaming._mark import limits_of, new_mark
from ociworks.cri.streaming._negotiation import command_wire, forward_wire
from ociworks.cri.streaming._peer import Peer
from ociworks.cri.streaming._pipes import Pipes
from ociworks.cri.streaming._pod import PodNetwork
from ociworks.cri.streaming._room import Spare
from ociworks.cri.streaming.command import Wanted
from ociworks.cri.streaming.portforward import PortForwardSession
from ociworks.cri.streaming.remotecommand import AttachSession, ExecSession, Relay, Running
from ociworks.cri.streaming.server import StreamingServer
from ociworks.cri.streaming.tokens import Tokens
from ociworks.errors import ContainerError, InvalidRequest, OciworksError, PodStateError, StreamError
from ociworks.runtime import Container as OwnContainer
from ociworks.runtime.attach import Attachment
from ociworks.runtime.stdio import Stream
from ociworks.spec.runtime import Process, Rlimit

__all__ = ["Containers", "Streaming", "Target"]

_TARGETS: Final = 256
_Waiting: TypeAlias = api.ExecRequest | api.AttachRequest | api.PortForwardRequest


class Target(Protocol):
    """What is needed of a container."""

    def spawn(
        self, args: Process, *, stdin: Stream = ..., stdout: Stream = ..., stderr: Stream = ...
    ) -> Running:
        """Begin a further program."""

    def attach(self, *, stdin: bool = ..., stdout: bool = ..., stderr: bool = ...) -> Attachment:
        """A connection to its own program's streams."""

    def processes(self) -> tuple[int, ...]:
        """The pids of everything in it."""


class Containers(Protocol):
    """What is needed of the containers' part."""

    def open(self, id: str, /) -> Target:
        """The container in its runtime."""

    def exec_process(
        self, id: str, command: Sequence[str], *, tty: bool, limits: tuple[Rlimit, ...] = ()
    ) -> Process:
        """What a further program of this container runs as; with ``limits`` beside its own, if it has none."""


class Streaming:
    """The streaming server and ExecSync of one node."""

    def __init__(self, config: CriConfig, store: Store, containers: Containers) -> None:
        self._config = config
        self._store = store
        self._containers = containers
        self._tokens: Tokens[_Waiting] = Tokens()
        self._targets: dict[str, Target] = {}
        """Of the latest probes; an ID never comes to mean another container."""
        self._spare = Spare()
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
        target = self._opened(record.id)
        # Another runtime may know no such limit, or run programs where nobody sees it.
        mark = new_mark() if isinstance(target, OwnContainer) else 0
        process = self._containers.exec_process(record.id, command, tty=False, limits=limits_of(mark))
        try:
            return execsync.run(
                lambda pipes: _spawn(target, process, pipes),
                target.processes,
                timeout,
                self._config.drain_exec_sync_io_timeout,
                mark,
            )
        except ContainerError:
            self._targets.pop(record.id, None)  # it may have ended
            raise

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

    def port_forward(self, request: api.PortForwardRequest) -> str:
        """Where ports inside the pod can be reached; as :meth:`exec`. With ports in the request, only those."""
        for port in request.port:
            if not 1 <= port <= 0xFFFF:
                raise InvalidRequest(f"port: expected 1 to 65535, got {port}")
        with self._network(request.pod_sandbox_id):
            return self._url("portforward", request)

    def _url(self, kind: str, request: _Waiting) -> str:
        base = self._server.base
        return f"{base}/{kind}/{self._tokens.issue(kind, request)}"

    def _opened(self, id: str) -> Target:
        """The container, whose configuration need not be read again for each probe."""
        target = self._targets.get(id)
        if target is None:
            target = self._containers.open(id)
            for old in list(self._targets)[: 1 - _TARGETS]:
                self._targets.pop(old, None)
            self._targets[id] = target
        return target

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
        elif isinstance(waiting, api.PortForwardRequest):
            self._port_forward(peer, request, waiting)
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
        record = self._store.containers.find(waiting.container_id)
        config = api.ContainerConfig.FromString(record.config)

        stdin = wanted.stdin and config.stdin
        only_end = not (stdin or wanted.stdout or wanted.stderr)

        def attach() -> Attachment:
            target = self._containers.open(self._running(waiting.container_id).id)
            return target.attach(stdin=stdin, stdout=wanted.stdout or only_end, stderr=wanted.stderr)

        AttachSession(relay, attach, stdin=stdin, stdin_once=config.stdin_once).run(request.early)

    def _port_forward(self, peer: Peer, request: Request, waiting: api.PortForwardRequest) -> None:
        wire = forward_wire(peer, request, tuple(waiting.port))
        try:
            network = self._network(waiting.pod_sandbox_id)
        except OciworksError as error:
            raise StreamError(f"port-forward: {error}") from error
        with network:
            idle = self._config.stream_idle_timeout
            PortForwardSession(peer, wire, idle, network.connect, self._spare).run(request.early)

    def _network(self, prefix: str) -> PodNetwork:
        return PodNetwork(self._store.sandboxes.find(prefix), host=self._config.host_network_port_forward)

    def _relay(self, peer: Peer, request: Request, wanted: Wanted) -> Relay:
        wire = command_wire(peer, request, wanted)
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
