"""Pods that end, or fail to begin, with real namespaces, control groups and mounts: nothing is left."""

from __future__ import annotations

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.sandbox import files, groups, logs, namespaces, pause, users
from ociworks.errors import (
    NetworkError,
    PodError,
)
from tests.cri.sandboxes import (
    MAPPED,
    Pods,
    a_container,
    config,
    directory_of,
    group_of,
    inside,
)

pytestmark = pytest.mark.root


def test_containers_go_first(pods: Pods, place: Path) -> None:
    """Stopped before the network goes, removed before the pod."""
    made = pods.sandboxes.run(config(place), "")
    pods.store.containers.add(a_container(made))
    assert [one.id for one in pods.sandboxes.status(made).containers_statuses] == ["c" * 64]
    pods.sandboxes.stop(made)
    assert pods.containers.calls == [("stop", "c" * 64)]
    pods.sandboxes.remove(made)
    assert ("remove", "c" * 64) in pods.containers.calls
    assert pods.store.containers.all() == ()


def test_a_network_that_cannot_be_taken_down_is_tried_again(pods: Pods, place: Path) -> None:
    """The namespace is still there for the next attempt."""
    made = pods.sandboxes.run(config(place), "")
    pods.network.fails.add("remove")
    with pytest.raises(NetworkError):
        pods.sandboxes.stop(made)
    assert pods.sandboxes.namespaces(pods.sandboxes.get(made))
    pods.network.fails.clear()
    pods.sandboxes.stop(made)
    assert pods.network.calls[-1] == ("remove", made, True)
    assert pods.sandboxes.namespaces(pods.sandboxes.get(made)) == {}


def test_a_network_that_cannot_be_made_is_taken_down(pods: Pods, place: Path) -> None:
    """DEL runs although ADD failed; then there is no such pod."""
    pods.network.fails.add("add")
    with pytest.raises(NetworkError):
        pods.sandboxes.run(config(place), "")
    assert [call[0] for call in pods.network.calls] == ["add", "remove"]
    assert pods.store.sandboxes.all() == ()


def test_a_network_that_can_neither_be_made_nor_taken_down_stays_known(pods: Pods, place: Path) -> None:
    """The pod stays, not ready, so that whoever stops it tries again."""
    pods.network.fails |= {"add", "remove"}
    with pytest.raises(NetworkError, match="add"):
        pods.sandboxes.run(config(place), "")
    (item,) = pods.sandboxes.list(api.PodSandboxFilter())
    assert item.state == api.SANDBOX_NOTREADY
    pods.network.fails.clear()
    pods.sandboxes.remove(item.id)
    assert pods.store.sandboxes.all() == ()


STEPS = [
    (logs, "make_log_directory", "plain mapped"),
    (files, "make_directory", "plain mapped"),
    (files, "write_file", "plain mapped"),
    (groups, "make_groups", "plain mapped"),
    (groups, "apply_all", "plain mapped"),
    (namespaces, "make_and_furnish", "plain"),
    (namespaces, "bring_loopback_up", "plain mapped"),
    (namespaces, "pin", "plain mapped"),
    (namespaces, "pin_of", "plain"),
    (namespaces, "enter_and_furnish", "mapped"),
    (pause.Holder, "spawn", "plain"),
    (pause, "into_an_empty_root", "plain"),
    (pause.Holder, "keep", "plain mapped"),
    (users, "_request", "mapped"),
    (users, "_list", "users"),
    (users, "_expect", "users"),
    (users, "_write", "users"),
    (files, "make_shm", "plain mapped"),
]


@pytest.mark.parametrize(
    ("owner", "name", "kind"),
    [
        pytest.param(owner, name, kind, id=f"{name.strip('_')}-{kind}")
        for owner, name, kinds in STEPS
        for kind in kinds.split()
    ],
)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_failure_at_any_step_leaves_nothing(
    pods: Pods, place: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, kind: str, moment: str
) -> None:
    """Mounts, namespaces, processes, files, groups, records, descriptors: the fixture counts them."""
    real = getattr(owner, name)

    def failing(*args: object, **options: object) -> object:
        if moment == "after":
            real(*args, **options)
        raise PodError(f"{name} fails, as it was told to")

    monkeypatch.setattr(owner, name, failing)
    options: dict[str, Any] = {} if kind == "plain" else {"userns_options": MAPPED}
    if kind != "users":
        options["pid"] = api.POD
    with pytest.raises(PodError, match="as it was told to"):
        pods.sandboxes.run(config(place, **options), "")
    monkeypatch.undo()
    assert pods.store.sandboxes.all() == ()
    assert list((place / "state" / "sandboxes").glob("*")) == []
    assert not holders()


def holders() -> list[int]:
    """The processes that hold a process namespace for this process, or that nobody has reaped."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(child) for child in children if "ociworks-pause" in Path(f"/proc/{child}/stat").read_text()]


def test_many_at_once(pods: Pods, place: Path) -> None:
    """Made and removed by several threads, each whole."""

    def life(number: int) -> None:
        made = pods.sandboxes.run(config(place, f"pod{number}"), "")
        assert inside(pods, made, "hostname") == f"pod{number}"
        pods.sandboxes.remove(made)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(life, range(12)))
    assert socket.gethostname() not in {f"pod{number}" for number in range(12)}


def test_what_holds_a_namespace_can_be_made_to_do_nothing_else(pods: Pods, place: Path) -> None:
    """A filter stands between it and the kernel, whoever traces it."""
    record = pods.sandboxes.get(pods.sandboxes.run(config(place, pid=api.POD), ""))
    status = Path(f"/proc/{record.pause.partition('/')[0]}/status").read_text()
    assert "Seccomp:\t2\n" in status
    os.kill(int(record.pause.partition("/")[0]), signal.SIGSTOP)
    os.kill(int(record.pause.partition("/")[0]), signal.SIGCONT)
    assert pods.sandboxes.is_ready(record)


def test_groups_above_go_with_the_last_pod(pods: Pods, place: Path) -> None:
    """Whoever made them."""
    first = pods.sandboxes.run(config(place, "one"), "")
    second = pods.sandboxes.run(config(place, "two"), "")
    pods.sandboxes.remove(first)
    assert directory_of(group_of(place), "memory").exists()
    pods.sandboxes.remove(second)
    assert not directory_of(group_of(place), "memory").exists()
