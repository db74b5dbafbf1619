"""Containers in pods, with real images and runtimes: what they see, how they live and end, and that nothing is left."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import (
    AlreadyReserved,
    CommandNotFound,
    ContainerError,
    ImageNotFound,
    InvalidRequest,
    PodNotFound,
    PodStateError,
)
from tests.cri.requests import linux
from tests.cri.stands import Stand, both, left, until

pytestmark = pytest.mark.root

STATES = api.ContainerState


@both
def test_a_life(node: Stand) -> None:
    """Created, running, exited, gone; each with its status, its place in lists, and its event."""
    pod = node.pod()
    one = node.create(pod, "sh", "-c", "echo hello; echo error >&2; exit 3", labels={"a": "b"})
    created = node.status(one)
    assert created.state == STATES.CONTAINER_CREATED
    assert created.created_at
    assert not created.started_at
    assert created.image_id == created.image_id == node.images.get("registry.example/busybox:1.36").id
    assert created.image.image == "registry.example/busybox:1.36"
    assert created.image_ref.startswith("registry.example/busybox@sha256:")
    assert created.stop_signal == api.Signal.SIGNAL_SIGTERM
    assert created.log_path == str(node.place / "logs/pod/main.log")
    assert dict(created.labels) == {"a": "b"}

    node.containers.start(one)
    node.wait(one)
    exited = node.status(one[:12])
    assert (exited.state, exited.exit_code, exited.reason) == (STATES.CONTAINER_EXITED, 3, "Error")
    assert created.created_at <= exited.started_at <= exited.finished_at
    assert sorted(node.log(one).splitlines()) == ["error", "hello"]
    assert os.stat(created.log_path).st_mode & 0o777 == 0o640
    with pytest.raises(PodStateError):
        node.containers.start(one)

    node.containers.stop(one, 5)
    node.containers.remove(one)
    node.containers.remove(one)
    with pytest.raises(PodNotFound):
        node.containers.status(one)
    assert os.path.exists(created.log_path)
    kinds = [kind for kind, subject in node.events if subject == one]
    assert kinds == [
        api.CONTAINER_CREATED_EVENT,
        api.CONTAINER_STARTED_EVENT,
        api.CONTAINER_STOPPED_EVENT,
        api.CONTAINER_DELETED_EVENT,
    ]


@both
def test_ends(node: Stand) -> None:
    """A signal it handles, one it does not, none before it was started, and again."""
    pod = node.pod()
    handles = node.create(
        pod, "sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done", name="handles"
    )
    node.containers.start(handles)
    until(lambda: "ready" in node.log(handles))
    node.containers.stop(handles, 20)
    assert (node.status(handles).exit_code, node.status(handles).reason) == (7, "Error")
    deaf = node.create(pod, "sleep", "1000", name="deaf")
    node.containers.start(deaf)
    stops = [threading.Thread(target=node.containers.stop, args=(deaf, timeout)) for timeout in (1, 0, 1)]
    for stop in stops:
        stop.start()
    for stop in stops:
        stop.join()
    assert node.status(deaf).exit_code == 137
    early = node.create(pod, "true", name="early")
    node.containers.stop(early, 10)
    assert (node.status(early).state, node.status(early).exit_code) == (STATES.CONTAINER_EXITED, 137)
    node.containers.stop(early, 10)
    assert [kind for kind, subject in node.events if subject == deaf].count(api.CONTAINER_STOPPED_EVENT) == 1


def test_stop_signal(node: Stand) -> None:
    """The request's signal is sent."""
    script = "trap 'exit 9' USR1; echo ready; while :; do sleep 0.1; done"
    one = node.create(node.pod(), "sh", "-c", script, stop_signal=api.Signal.SIGNAL_SIGUSR1)
    node.containers.start(one)
    until(lambda: "ready" in node.log(one))
    node.containers.stop(one, 20)
    assert node.status(one).exit_code == 9
    assert node.status(one).stop_signal == api.Signal.SIGNAL_SIGUSR1


@both
def test_a_program_that_is_not_there(node: Stand) -> None:
    """The start says so, the container has exited with 128, and can be removed."""
    one = node.create(node.pod(), "/no/such/program")
    with pytest.raises(CommandNotFound):
        node.containers.start(one)
    status = node.status(one)
    assert (status.state, status.exit_code, status.reason) == (STATES.CONTAINER_EXITED, 128, "StartError")
    assert "/no/such/program" in status.message
    node.containers.remove(one)


@both
def test_removal_of_a_running_one(node: Stand) -> None:
    """It is killed first, and nothing is left but its log."""
    pod = node.pod()
    one = node.create(pod, "sleep", "1000")
    node.containers.start(one)
    pid = node.containers.open(one).pid
    before = node.record(one).log_path
    node.containers.remove(one)
    assert not os.path.exists(f"/proc/{pid}")
    assert left(node, one) == []
    assert os.path.exists(before)
    assert not list(node.containers.list(api.ContainerFilter()))


@both
def test_nothing_is_left_of_a_failed_creation(node: Stand) -> None:
    """Whatever step fails: no record, no name, no directory, no process."""
    pod = node.pod()
    failures: list[tuple[type[Exception], dict[str, Any]]] = [
        (InvalidRequest, {"devices": [api.Device(host_path="/dev/no-such-device")]}),
        (ImageNotFound, {"image": api.ImageSpec(image="registry.example/none:1")}),
        (InvalidRequest, {"linux": linux(run_as_username="stranger")}),
        (InvalidRequest, {"log_path": "../x"}),
        (
            Exception,
            {"linux": linux(capabilities=api.Capability(add_capabilities=["ALL"]), masked_paths=["x"])},
        ),
    ]
    for kind, settings in failures:
        with pytest.raises(kind):
            node.create(pod, **settings)
        assert not node.store.containers.all()
        assert not node.images.holders()
        assert not os.path.exists(f"{node.config.state}/bundles") or not os.listdir(
            f"{node.config.state}/bundles"
        )
    assert not node.handlers.get("").list()
    node.create(pod)


@both
def test_a_creation_that_fails_late_leaves_no_log(node: Stand) -> None:
    """A kubelet counts by the logs how often a container ran. What was written stays."""
    pod = node.pod()
    impossible = [api.Mount(host_path=str(node.place), container_path="/bin/sh/inside")]
    one = node.create(pod, "echo", "ran")
    log = Path(node.record(one).log_path)
    node.containers.start(one)
    node.wait(one)
    node.containers.remove(one)
    written = log.read_bytes()
    with pytest.raises(ContainerError):
        node.create(pod, mounts=impossible)
    assert log.read_bytes() == written
    log.unlink()
    with pytest.raises(ContainerError):
        node.create(pod, mounts=impossible)
    assert not log.exists()


@both
def test_a_container_stays_with_its_runtime(node: Stand) -> None:
    """Also of a pod that asks for none: the default may be another one when the server is started again."""
    assert node.record(node.create(node.pod())).handler == node.config.default_handler


def test_names(node: Stand) -> None:
    """One name and attempt at a time in a pod; free again after the removal."""
    pod, other = node.pod("first"), node.pod("two")
    one = node.create(pod)
    with pytest.raises(AlreadyReserved) as found:
        node.create(pod)
    assert found.value.holder == one
    node.create(other)
    node.create(pod, metadata=api.ContainerMetadata(name="main", attempt=1))
    node.containers.remove(one)
    node.create(pod)


def test_lists(node: Stand) -> None:
    """Filters by ID, pod, state and labels."""
    one, two = node.pod("one"), node.pod("two")
    first = node.create(one, labels={"tier": "web"})
    second = node.create(two, labels={"tier": "db"})
    node.containers.start(second)

    def found(**filter: Any) -> set[str]:
        return {item.id for item in node.containers.list(api.ContainerFilter(**filter))}

    assert found() == {first, second}
    assert found(id=first[:13]) == {first}
    assert found(pod_sandbox_id=two) == {second}
    assert found(label_selector={"tier": "web"}) == {first}
    assert found(state=api.ContainerStateValue(state=STATES.CONTAINER_RUNNING)) == {second}
    assert found(state=api.ContainerStateValue(state=STATES.CONTAINER_EXITED)) == set()


def test_verbose_status(node: Stand) -> None:
    """The pid and the configuration, as JSON."""
    one = node.create(node.pod())
    node.containers.start(one)
    info = json.loads(node.containers.status(one, verbose=True).info["info"])
    assert info["pid"] == node.containers.open(one).pid
    assert info["runtimeSpec"]["process"]["args"] == ["sleep", "1000"]


@both
def test_log_is_reopened(node: Stand) -> None:
    """After a rename, further output is in a new file; only while the container runs."""
    script = "echo one; while ! test -e /go; do sleep 0.05; done; echo two; sleep 1000"
    one = node.create(node.pod(), "sh", "-c", script)
    with pytest.raises(PodStateError):
        node.containers.reopen_log(one)
    node.containers.start(one)
    until(lambda: "one" in node.log(one))
    path = Path(node.record(one).log_path)
    path.rename(f"{path}.1")
    node.containers.reopen_log(one)
    node.containers.open(one).exec(["sh", "-c", ">/go"])
    until(lambda: path.exists() and "two" in node.log(one))
    assert "one" not in node.log(one)
