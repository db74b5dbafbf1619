"""Pods with real namespaces, control groups and mounts; the network and the containers are stand-ins."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from ociworks._linux import calls
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.sandbox import pause
from ociworks.errors import (
    AlreadyReserved,
    InvalidRequest,
    PodNotFound,
    PodStateError,
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


# --- what is there -----------------------------------------------------------------------------------


def test_a_pod_has_namespaces_without_a_process(pods: Pods, place: Path) -> None:
    """A network with loopback up, a host name, settings; nobody else changes."""
    host = os.uname().nodename
    asked = config(place)
    asked.linux.sysctls["kernel.shm_rmid_forced"] = "1"
    made = pods.sandboxes.run(asked, "")
    assert set(pods.sandboxes.namespaces(pods.sandboxes.get(made))) == {"net", "ipc", "uts"}
    assert inside(pods, made, "hostname") == "pod"
    assert inside(pods, made, "cat", "/proc/sys/kernel/shm_rmid_forced") == "1"
    assert inside(pods, made, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start") == "0"
    assert inside(pods, made, "cat", "/sys/class/net/lo/operstate") in {"unknown", "up"}
    assert os.uname().nodename == host
    assert Path("/proc/sys/kernel/shm_rmid_forced").read_text().strip() == "0"
    assert not pods.sandboxes.get(made).pause


def test_loopback_takes_connections(pods: Pods, place: Path) -> None:
    """As a container finds it."""
    made = pods.sandboxes.run(config(place), "")
    code = (
        "import socket; s = socket.create_server(('127.0.0.1', 0));"
        "socket.create_connection(s.getsockname()).close(); print('ok')"
    )
    assert inside(pods, made, sys.executable, "-c", code) == "ok"


def test_files_for_containers(pods: Pods, place: Path) -> None:
    """hosts, hostname, resolv.conf, and shared memory with its own 64 MiB."""
    asked = config(place)
    asked.dns_config.CopyFrom(api.DNSConfig(servers=["10.0.0.10"], searches=["x.y"], options=["ndots:5"]))
    record = pods.sandboxes.get(pods.sandboxes.run(asked, ""))
    found = pods.sandboxes.files(record)
    assert Path(found.hostname).read_text() == "pod\n"
    assert Path(found.resolv_conf).read_text() == "search x.y\nnameserver 10.0.0.10\noptions ndots:5\n"
    assert "10.1.2.3\tpod\n" in Path(found.hosts).read_text()
    assert "fd00::3\tpod\n" in Path(found.hosts).read_text()
    assert os.path.ismount(found.shm)
    assert os.stat(found.shm).st_mode & 0o7777 == 0o1777
    size = os.statvfs(found.shm)
    assert size.f_blocks * size.f_frsize == 64 << 20
    assert (place / "logs" / "pod").stat().st_mode & 0o7777 == 0o755


def test_the_host_as_it_is(pods: Pods, place: Path) -> None:
    """Network, IPC and processes of the host: nothing is made, no plugin is asked."""
    asked = config(place, network=api.NODE, ipc=api.NODE, pid=api.NODE)
    record = pods.sandboxes.get(pods.sandboxes.run(asked, ""))
    assert pods.sandboxes.namespaces(record) == {}
    found = pods.sandboxes.files(record)
    assert found.shm == "/dev/shm"
    assert Path(found.hosts).read_bytes() == Path("/etc/hosts").read_bytes()
    assert Path(found.resolv_conf).read_bytes() == Path("/etc/resolv.conf").read_bytes()
    pods.sandboxes.remove(record.id)
    assert pods.network.calls == []


def test_the_hosts_uts_namespace_goes_with_its_network(pods: Pods, place: Path) -> None:
    """A name on the host's network is the host's."""
    record = pods.sandboxes.get(pods.sandboxes.run(config(place, network=api.NODE), ""))
    assert set(pods.sandboxes.namespaces(record)) == {"ipc"}


def test_a_user_namespace_owns_the_others(pods: Pods, place: Path) -> None:
    """Its root may do in them what the host's root may, and shared memory is its."""
    record = pods.sandboxes.get(pods.sandboxes.run(config(place, userns_options=MAPPED), ""))
    assert set(pods.sandboxes.namespaces(record)) == {"net", "ipc", "uts", "user"}
    assert inside(pods, record.id, "cat", "/proc/self/uid_map").split() == ["0", "200000", "65536"]
    assert inside(pods, record.id, "sh", "-c", "hostname other; hostname") == "other"
    assert inside(pods, record.id, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start") == "0"
    assert os.stat(pods.sandboxes.files(record).shm).st_uid == 200000
    code = (
        "import os, socket; os.setgroups([]); os.setgid(201000); os.setuid(201000);"
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP); print('ok')"
    )
    enter = ["nsenter", f"--net={pods.sandboxes.namespaces(record)['net']}", sys.executable, "-c", code]
    assert subprocess.run(enter, capture_output=True, text=True, check=True).stdout == "ok\n"


def test_a_user_namespace_by_a_helper(pods: Pods, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On machines that have no lists of system calls it is the same."""
    monkeypatch.setattr(calls, "SUPPORTED", False)
    test_a_user_namespace_owns_the_others(pods, place)


# --- a shared process namespace ----------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"userns_options": MAPPED}], ids=["plain", "mapped"])
def test_a_shared_process_namespace_is_held_by_next_to_nothing(
    pods: Pods, place: Path, options: dict[str, Any]
) -> None:
    """One process of a few pages, without privileges, files, or a way to the host's files."""
    record = pods.sandboxes.get(pods.sandboxes.run(config(place, pid=api.POD, **options), ""))
    assert "pid" in pods.sandboxes.namespaces(record)
    pid = record.pause.partition("/")[0]
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert status["NSpid"].split()[-1] == "1"
    assert "0" not in status["Uid"].split()
    assert status["Groups"].strip() == ""
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert os.listdir(f"/proc/{pid}/fd") == []
    assert os.listdir(f"/proc/{pid}/root") == ["ociworks-pause"]
    assert os.statvfs(f"/proc/{pid}/root").f_flag & os.ST_RDONLY
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    (pss,) = (line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:"))
    assert float(pss) <= 64


def test_orphans_are_reaped(pods: Pods, place: Path) -> None:
    """No zombie stays in the shared namespace."""
    record = pods.sandboxes.get(pods.sandboxes.run(config(place, pid=api.POD), ""))
    pin = pods.sandboxes.namespaces(record)["pid"]
    script = "(true & exec true) ; sh -c 'sh -c \"exit 3\" & ' ; ps -e -o stat= | grep -c Z || true"
    done = subprocess.run(
        ["nsenter", f"--pid={pin}", "unshare", "-m", "sh", "-c", f"mount -t proc proc /proc; {script}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "0"


def test_everything_in_it_ends_with_the_pod(pods: Pods, place: Path) -> None:
    """What a container left there, too."""
    record = pods.sandboxes.get(pods.sandboxes.run(config(place, pid=api.POD), ""))
    pin = pods.sandboxes.namespaces(record)["pid"]
    with subprocess.Popen(["nsenter", f"--pid={pin}", "sleep", "1000"]) as sleeper:
        while "sleep" not in " ".join(
            Path(f"/proc/{child}/comm").read_text()
            for child in Path(f"/proc/{sleeper.pid}/task/{sleeper.pid}/children").read_text().split()
        ):
            os.sched_yield()
        pods.sandboxes.stop(record.id)
        assert sleeper.wait() != 0
    assert not pause.is_alive(record.pause)


def test_a_pod_whose_holder_ended_is_not_ready(pods: Pods, place: Path) -> None:
    """It cannot take containers any more; it can be removed."""
    record = pods.sandboxes.get(pods.sandboxes.run(config(place, pid=api.POD), ""))
    assert pods.sandboxes.status(record.id).status.state == api.SANDBOX_READY
    pause.end(record.pause)
    assert pods.sandboxes.status(record.id).status.state == api.SANDBOX_NOTREADY
    assert not pause.is_alive(record.pause)


def test_another_process_of_the_same_number_is_left_alone() -> None:
    """A pid alone names nobody."""
    with subprocess.Popen(["sleep", "1000"]) as other:
        assert not pause.is_alive(f"{other.pid}/1")
        pause.end(f"{other.pid}/1")
        assert other.poll() is None
        other.send_signal(signal.SIGKILL)


# --- asking ------------------------------------------------------------------------------------------


def test_status_and_lists(pods: Pods, place: Path) -> None:
    """By the beginning of an ID, the state and labels; addresses while it is ready."""
    first = pods.sandboxes.run(config(place, "one"), "known")
    second = pods.sandboxes.run(config(place, "two"), "")
    answer = pods.sandboxes.status(first[:12], verbose=True)
    assert answer.status.runtime_handler == "known"
    assert answer.status.network.ip == "10.1.2.3"
    assert [address.ip for address in answer.status.network.additional_ips] == ["fd00::3"]
    assert answer.status.linux.namespaces.options.pid == api.CONTAINER
    assert json.loads(answer.info["info"])["cniResult"] == {"ips": []}
    assert not pods.sandboxes.status(first).info
    pods.sandboxes.stop(second)
    assert pods.sandboxes.status(second).status.network.ip == ""

    def ids(**wanted: object) -> list[str]:
        return [item.id for item in pods.sandboxes.list(api.PodSandboxFilter(**wanted))]  # type: ignore[arg-type]

    assert ids() == [first, second]
    assert ids(id=second[:8]) == [second]
    assert ids(state=api.PodSandboxStateValue(state=api.SANDBOX_READY)) == [first]
    assert ids(state=api.PodSandboxStateValue(state=api.SANDBOX_NOTREADY)) == [second]
    assert ids(label_selector={"app": "two"}) == [second]
    assert ids(label_selector={"app": "two", "x": ""}) == []
    with pytest.raises(PodNotFound):
        pods.sandboxes.status("f" * 64)


def test_events(pods: Pods, place: Path) -> None:
    """Made, started, stopped, gone; each once."""
    made = pods.sandboxes.run(config(place), "")
    pods.sandboxes.stop(made)
    pods.sandboxes.stop(made)
    pods.sandboxes.remove(made)
    pods.sandboxes.remove(made)
    assert pods.events == [
        (api.CONTAINER_CREATED_EVENT, made),
        (api.CONTAINER_STARTED_EVENT, made),
        (api.CONTAINER_STOPPED_EVENT, made),
        (api.CONTAINER_DELETED_EVENT, made),
    ]
    assert [(pod.id, pod.metadata.name, pod.state) for pod in pods.last] == [
        (made, config(place).metadata.name, api.SANDBOX_NOTREADY)
    ]


def test_a_status_has_a_time_only_with_its_containers(pods: Pods, place: Path) -> None:
    """A kubelet that follows events takes both or neither, and drops events older than the time.

    So what changes while the status is put together has an event after it.
    """
    made = pods.sandboxes.run(config(place), "")
    alone = pods.sandboxes.status(made)
    assert (alone.timestamp, len(alone.containers_statuses)) == (0, 0)
    pods.store.containers.add(a_container(made))
    read: list[int] = []
    answer = pods.containers.status

    def slow(id: str) -> api.ContainerStatusResponse:
        read.append(time.time_ns())
        return answer(id)

    pods.containers.status = slow  # type: ignore[method-assign]
    before = time.time_ns()
    followed = pods.sandboxes.status(made)
    assert before <= followed.timestamp <= read[0]
    assert len(followed.containers_statuses) == 1


def test_the_newest_container_is_told_first(pods: Pods, place: Path) -> None:
    """A kubelet that follows events takes the first of a name; an older attempt would be started again."""
    made = pods.sandboxes.run(config(place), "")
    for created_at, made_as in ((2, "a" * 64), (3, "b" * 64), (1, "c" * 64)):
        record = evolve(a_container(made), id=made_as, name=made_as, created_at=created_at)
        pods.store.containers.add(record)
    told = pods.sandboxes.status(made).containers_statuses
    assert [one.id[0] for one in told] == ["b", "a", "c"]


# --- names -------------------------------------------------------------------------------------------


def test_a_name_is_held_until_its_pod_has_ended(pods: Pods, place: Path) -> None:
    """The same metadata again: refused while it is ready, another pod afterwards."""
    first = pods.sandboxes.run(config(place), "")
    with pytest.raises(AlreadyReserved) as refused:
        pods.sandboxes.run(config(place), "")
    assert refused.value.holder == first
    pods.sandboxes.stop(first)
    second = pods.sandboxes.run(config(place), "")
    assert second != first
    assert [record.id for record in pods.store.sandboxes.all()] == [second]


def test_one_of_many_at_once_gets_the_name(pods: Pods, place: Path) -> None:
    """The others are told who."""

    def attempt(_: int) -> str:
        try:
            return pods.sandboxes.run(config(place), "")
        except AlreadyReserved as error:
            return error.holder

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(attempt, range(8)))) == 1


def test_an_unknown_handler_is_refused_first(pods: Pods, place: Path) -> None:
    """Nothing is recorded."""
    with pytest.raises(InvalidRequest):
        pods.sandboxes.run(config(place), "unknown")
    assert pods.store.sandboxes.all() == ()


# --- control groups ----------------------------------------------------------------------------------


def test_a_missing_group_is_made_with_limits_and_removed(pods: Pods, place: Path) -> None:
    """It holds the sum of the containers' limits and the overhead, and later other ones."""
    asked = config(place)
    asked.linux.cgroup_parent = f"{group_of(place)}/a/pod1"
    asked.linux.resources.memory_limit_in_bytes = 64 << 20
    asked.linux.overhead.memory_limit_in_bytes = 8 << 20
    made = pods.sandboxes.run(asked, "")
    group = directory_of(asked.linux.cgroup_parent, "memory")
    limit = group / ("memory.max" if (group / "memory.max").exists() else "memory.limit_in_bytes")
    assert limit.read_text().strip() == str(72 << 20)
    pods.sandboxes.update_resources(
        api.UpdatePodSandboxResourcesRequest(
            pod_sandbox_id=made, resources=api.LinuxContainerResources(memory_limit_in_bytes=128 << 20)
        )
    )
    assert limit.read_text().strip() == str(128 << 20)
    pods.sandboxes.remove(made)
    assert not group.parent.exists()


def test_a_group_that_was_there_stays_as_it_is(pods: Pods, place: Path) -> None:
    """It is the kubelet's, with its limits."""
    parent = group_of(place)
    group = directory_of(parent, "memory")
    group.mkdir()
    limit = group / ("memory.max" if (group / "memory.max").exists() else "memory.limit_in_bytes")
    before = limit.read_text()
    try:
        asked = config(place)
        asked.linux.cgroup_parent = parent
        asked.linux.resources.memory_limit_in_bytes = 64 << 20
        made = pods.sandboxes.run(asked, "")
        assert limit.read_text() == before
        pods.sandboxes.remove(made)
        assert group.exists()
    finally:
        group.rmdir()


def test_limits_of_a_pod_that_ended(pods: Pods, place: Path) -> None:
    """There is nothing to limit."""
    made = pods.sandboxes.run(config(place), "")
    pods.sandboxes.stop(made)
    with pytest.raises(PodStateError):
        pods.sandboxes.update_resources(api.UpdatePodSandboxResourcesRequest(pod_sandbox_id=made))
