"""Hundreds of pods live and die, four at a time, while their server is killed again and again: nothing is lost."""

from __future__ import annotations

import os
import queue
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import grpc
import pytest

from ociworks.cri.proto import runtime_v1_pb2 as api
from tests.cri.servers import Server, a_container, a_pod, running_server

pytestmark = pytest.mark.root

PODS = 500
WORKERS = 4
PATIENCE = 120.0
T = TypeVar("T")
_GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.FAILED_PRECONDITION)
"""What a call ends with whose server is killed, or that is asked again what was done already."""


class Kubelet:
    """Drives pods through their lives, as a kubelet does: what is not known after a failure, it looks up."""

    def __init__(self, server: Server, place: Path) -> None:
        self._server, self._place = server, place
        self.kills = 0
        self.serving = threading.Event()
        self.failures: list[str] = []

    def restart(self) -> None:
        """Kill the server at whatever it does, and start another one."""
        self.serving.clear()
        self.kills += 1
        self._server.kill()
        self._server.start()
        self.kills += 1
        self.serving.set()

    def live(self, number: int, kind: random.Random) -> None:
        """One pod with one or two containers, from its creation to its removal."""
        name = f"pod-{number}"
        config = a_pod(self._place, name, own_network=kind.random() < 0.5)
        handler = "runc" if kind.random() < 0.1 and os.path.exists("/usr/sbin/runc") else ""
        pod = self._until_done(lambda: self._pod(config, handler))
        codes = {f"c{index}": kind.randrange(256) for index in range(kind.randrange(1, 3))}
        made = {each: self._begun(pod, config, each, code) for each, code in codes.items()}
        for each, container in made.items():
            status = self._until_done(lambda container=container: self._ended(container))  # type: ignore[misc]
            reason = "Completed" if codes[each] == 0 else "Error"
            assert (status.exit_code, status.reason) == (codes[each], reason), (name, each, status)
            lines = (self._place / "logs" / name / f"{each}.log").read_text().splitlines()
            assert [line.split()[-1] for line in lines] == [each], (name, lines)
        if kind.random() < 0.5:
            self._until_done(lambda: self._stop(pod))
        self._until_done(lambda: self._remove(pod))

    def _pod(self, config: api.PodSandboxConfig, handler: str) -> str:
        for pod, found in self._server.pods().items():
            if found.metadata == config.metadata:
                assert found.state == api.SANDBOX_READY, found
                return pod
        return self._server.run_pod(config, handler)

    def _begun(self, pod: str, config: api.PodSandboxConfig, name: str, code: int) -> str:
        container = self._until_done(lambda: self._made(pod, config, name, code))
        self._until_done(lambda: self._start(container))
        return container

    def _made(self, pod: str, config: api.PodSandboxConfig, name: str, code: int) -> str:
        for container, found in self._server.containers().items():
            if (found.pod_sandbox_id, found.metadata.name) == (pod, name):
                return container
        return self._server.create(pod, a_container(f"echo {name}; exit {code}", name), config)

    def _start(self, container: str) -> None:
        if self._server.status(container).state == api.CONTAINER_CREATED:
            self._server.begin(container)

    def _ended(self, container: str) -> api.ContainerStatus:
        while True:
            status = self._server.status(container)
            if status.state == api.CONTAINER_EXITED:
                return status
            assert status.state == api.CONTAINER_RUNNING, status
            time.sleep(0.01)  # trusted: a kubelet asks again and again, too

    def _stop(self, pod: str) -> None:
        self._server.runtime.StopPodSandbox(api.StopPodSandboxRequest(pod_sandbox_id=pod), timeout=PATIENCE)

    def _remove(self, pod: str) -> None:
        self._server.runtime.RemovePodSandbox(
            api.RemovePodSandboxRequest(pod_sandbox_id=pod), timeout=PATIENCE
        )

    def _until_done(self, call: Callable[[], T]) -> T:
        """Ask until there is an answer; a server that is killed does not give one."""
        deadline = time.monotonic() + PATIENCE
        while True:
            kills = self.kills
            try:
                return call()
            except grpc.RpcError as error:
                if time.monotonic() > deadline or (error.code() not in _GONE and kills == self.kills):
                    raise
                self.serving.wait(PATIENCE)


def _go_on(running: list[Future[None]], seconds: float) -> bool:
    """Whether, so many seconds later, something is still to be done and nothing has failed."""
    done, not_done = wait(running, seconds, FIRST_EXCEPTION)
    return bool(not_done) and not any(each.exception() for each in done)


def test_five_hundred_pods(place: Path) -> None:
    """Each exit code and log is what the program did, each program ran once, and all is gone at the end."""
    seed = random.randrange(1 << 32)
    kind = random.Random(seed)
    jobs: queue.Queue[int] = queue.Queue()
    for number in range(PODS):
        jobs.put(number)
    with running_server(place) as server, ThreadPoolExecutor(WORKERS) as workers:
        kubelet = Kubelet(server, place)

        def work(own: random.Random) -> None:
            with suppress(queue.Empty):
                while not kubelet.failures:
                    kubelet.live(jobs.get_nowait(), own)

        running = [workers.submit(work, random.Random(kind.random())) for _ in range(WORKERS)]
        while _go_on(running, kind.uniform(0.1, 4.0)) and not kubelet.failures:
            kubelet.restart()
            kubelet.failures += server.recovered()["failed"]
        for each in running:
            each.result()
        assert not kubelet.failures, (seed, kubelet.failures)
        assert not server.pods()
        assert not server.containers()
        assert kubelet.kills > 5
