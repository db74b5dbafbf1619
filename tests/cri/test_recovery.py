"""A server that is killed and started again finds every pod and container, and they did not notice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from attrs import evolve

from ociworks.cri.config import load
from ociworks.cri.node import Node
from ociworks.cri.proto import runtime_v1_pb2 as api
from tests.cri.servers import (
    Server,
    a_container,
    a_pod,
    clean,
    left,
    prepare,
    remove_groups,
    running_server,
    until,
)
from tests.runtime.shims import until_ended

pytestmark = pytest.mark.root

COUNTING = "n=0; while :; do echo line $n; n=$((n + 1)); sleep 0.01; done"


STUBBORN = "trap 'touch /shared/asked' TERM; touch /shared/up; while :; do sleep 0.1; done"


def pid_of(server: Server, container: str) -> str:
    """The pid of a container, as a verbose status tells it."""
    request = api.ContainerStatusRequest(container_id=container, verbose=True)
    return str(json.loads(server.runtime.ContainerStatus(request, timeout=60).info["info"])["pid"])


@pytest.mark.parametrize("handler", ["", pytest.param("runc", marks=pytest.mark.interop)])
def test_a_killed_server(place: Path, handler: str) -> None:
    """Every state of a container: running, ended before, ended while nobody looked, never started."""
    if handler and not os.path.exists("/usr/sbin/runc"):
        pytest.skip("runc is not installed")
    with running_server(place) as server:
        config = a_pod(place, "pod")
        pod = server.run_pod(config, handler)
        scripts = {
            "counts": COUNTING,
            "ended": "exit 3",
            "ends": "while [ ! -e /shared/go ]; do sleep 0.01; done; exit 7",
            "waits": "exit 9",
        }
        made = {
            name: server.create(pod, a_container(script, name, shared=place / "addresses"), config)
            for name, script in scripts.items()
        }
        for name in ("counts", "ended", "ends"):
            server.begin(made[name])
        assert server.until_exited(made["ended"]).exit_code == 3
        before = {name: server.status(container) for name, container in made.items()}
        pid = pid_of(server, made["counts"])
        address = server.pod(pod).network.ip
        server.kill()
        (place / "addresses/go").touch()
        log = place / "logs/pod/counts.log"
        size = log.stat().st_size
        until(lambda: log.stat().st_size, lambda now: now > size)  # it is read and logged without a server
        shims = place / f"state/runtime/{handler or 'ociworks'}{'@shims' if handler else ''}"
        until((shims / made["ends"] / "exit.json").exists, bool)
        server.start()
        (place / "addresses/go").unlink()
        assert server.pod(pod).state == api.SANDBOX_READY
        assert server.pod(pod).network.ip == address == "10.99.0.2"
        assert server.status(made["counts"]) == before["counts"]
        assert pid_of(server, made["counts"]) == pid
        assert server.status(made["ended"]) == before["ended"]
        ended = server.status(made["ends"])
        assert (ended.state, ended.exit_code, ended.reason) == (api.CONTAINER_EXITED, 7, "Error")
        assert before["ends"].started_at < ended.finished_at
        server.begin(made["waits"])
        assert server.until_exited(made["waits"]).exit_code == 9
        server.runtime.StopContainer(api.StopContainerRequest(container_id=made["counts"]), timeout=60)
        numbers = [line.split()[-1] for line in log.read_text().splitlines()]
        assert numbers == [str(number) for number in range(len(numbers))]
        assert server.recovered()["failed"] == []


@contextmanager
def nodes(place: Path) -> Iterator[Callable[[], Node]]:
    """Starts nodes with the same directories, one after the other: what one of them leaves, the next one finds."""
    prepare(place)
    config = load(place / "cri.toml")
    running: list[Node] = []

    def start() -> Node:
        while running:
            running.pop().close()
        node = Node(config)
        running.append(node)
        node.start()
        return node

    try:
        yield start
        node = start()
        for record in node.store.sandboxes.all():
            node.sandboxes.remove(record.id)
        node.close()
        assert left(place) == []
    finally:
        for node in running:
            node.close()
        clean(place)


def running_pod(node: Node, place: Path, name: str = "pod") -> tuple[str, str]:
    """A pod with a container that runs; their IDs."""
    config = a_pod(place, name)
    pod = node.sandboxes.run(config, "")
    container = node.containers.create(pod, a_container("sleep 1000"), config)
    node.containers.start(container)
    return pod, container


def phases(node: Node) -> dict[str, str]:
    """What is recorded of everything, by ID."""
    pods = {pod.id: pod.phase for pod in node.store.sandboxes.all()}
    return pods | {container.id: container.phase for container in node.store.containers.all()}


def test_what_was_cut_short(place: Path) -> None:
    """In the middle of a creation: undone; of a removal: done; of a start: it runs."""
    with nodes(place) as start:
        node = start()
        pod, container = running_pod(node, place)
        other, removed = running_pod(node, place, "other")
        half = node.sandboxes.run(a_pod(place, "half"), "")
        gone = node.sandboxes.run(a_pod(place, "gone"), "")
        config = a_pod(place, "pod")
        made = node.containers.create(pod, a_container("true", "made"), config)
        change = node.store.containers.update
        log = Path(node.store.containers.get(made).log_path)
        assert log.exists()
        change(made, lambda now: evolve(now, phase="creating"))
        change(removed, lambda now: evolve(now, phase="removing"))
        change(container, lambda now: evolve(now, phase="created", started_at=0))
        node.store.sandboxes.update(half, lambda now: evolve(now, phase="creating"))
        node.store.sandboxes.update(gone, lambda now: evolve(now, phase="removing"))
        node = start()
        assert phases(node) == {pod: "ready", other: "ready", container: "running"}
        assert node.store.containers.get(container).started_at
        assert node.recovered.undone == [f"container {made}", f"pod {half}"]
        assert node.recovered.finished == [f"container {removed}", f"pod {gone}"]
        assert node.recovered.failed == []
        assert not log.exists()  # a kubelet counts by the logs how often one ran


def test_a_server_that_ends_while_a_container_is_asked_to(place: Path) -> None:
    """It does not wait for the container's time: the client is told to try again, and the next server does it."""
    with running_server(place) as server:
        config, shared = a_pod(place, "pod", own_network=False), place / "addresses"
        container = server.create(server.run_pod(config), a_container(STUBBORN, shared=shared), config)
        server.begin(container)
        until((shared / "up").exists, bool)
        asked = server.runtime.StopContainer.future(
            api.StopContainerRequest(container_id=container, timeout=10_000)
        )
        until((shared / "asked").exists, bool)
        server.kill(signal.SIGTERM)
        error = asked.exception()
        assert isinstance(error, grpc.RpcError)
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        server.start()
        assert server.status(container).state == api.CONTAINER_RUNNING
        server.runtime.StopContainer(api.StopContainerRequest(container_id=container), timeout=60)
        assert server.status(container).exit_code == 137
        for name in ("up", "asked"):
            (shared / name).unlink()


def test_after_the_machine_was_started_anew(place: Path) -> None:
    """The state directory is empty: pods are not ready, containers have ended, and both can be removed."""
    with nodes(place) as start:
        node = start()
        pod, container = running_pod(node, place)
        node.handlers.get("").get(container).kill("KILL", all=True)
        node.handlers.get("").get(container).wait(60)
        node.close()
        for mount in sorted(mounts_below(place / "state"), reverse=True):
            subprocess.run(["umount", mount], check=True)
        shutil.rmtree(place / "state")
        remove_groups(place)
        node = start()
        assert phases(node) == {pod: "notready", container: "exited"}
        assert node.recovered.not_ready == [f"pod {pod}"]
        record = node.store.containers.get(container)
        assert record.exit_code != 0 or record.reason != "Completed"
        assert (place / "addresses" / pod).exists()
        node.sandboxes.stop(pod)
        assert not (place / "addresses" / pod).exists()


def test_what_no_record_knows(place: Path) -> None:
    """All of it goes when it is ours: containers, bundles, roots, pins and addresses; what is not ours stays."""
    with nodes(place) as start:
        node = start()
        pod, container = running_pod(node, place)
        pid = node.containers.open(container).pid
        foreign = [place / "state/bundles/readme", place / "state/sandboxes/mine", place / "root/other"]
        for path in foreign:
            path.mkdir()
        link = place / "state/sandboxes" / ("a" * 64)
        link.symlink_to(foreign[1])
        node.close()
        (place / "root/cri.db").unlink()
        for path in place.glob("root/cri.db-*"):
            path.unlink()
        node = start()
        until_ended(pid)
        assert phases(node) == {}
        assert {f"container {container} of ociworks", f"bundle {container}", f"pod {pod}"} <= set(
            node.recovered.removed
        )
        assert len(node.recovered.failed) == 1  # the link, which is set aside and not followed
        assert not link.is_symlink()
        for path in foreign:
            path.rmdir()


def mounts_below(directory: Path) -> list[str]:
    """Where something is mounted below a directory."""
    with open("/proc/self/mounts") as stream:
        return [line.split()[1] for line in stream if line.split()[1].startswith(f"{directory}/")]
