"""Containers in pods, with real images and runtimes: what they see, how they live and end, and that nothing is left."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ociworks import testing
from ociworks.cri.config import Handler
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import (
    AlreadyReserved,
    CommandNotFound,
    ContainerError,
    ImageNotFound,
    InvalidRequest,
    OciworksError,
    PodNotFound,
    PodStateError,
)
from ociworks.spec import FrozenDict
from tests.cri.requests import linux
from tests.cri.stands import MODES, Stand, stand, until
from tests.interop.peers import peer

pytestmark = pytest.mark.root

STATES = api.ContainerState


@pytest.fixture
def node(request: pytest.FixtureRequest, place: Path, registry: testing.Registry) -> Iterator[Stand]:
    """With our own runtime, or with somebody else's program as the default handler."""
    program = getattr(request, "param", "")
    settings: dict[str, Any] = {}
    if program:
        handlers = FrozenDict({program: Handler(program=peer(program))})
        settings = {"handlers": handlers, "default_handler": program}
    with stand(place, registry.url, **settings) as made:
        yield made


both = pytest.mark.parametrize("node", ["", "runc"], indirect=True)


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
def test_what_a_container_sees(node: Stand) -> None:
    """The pod's namespaces and files, its own processes, its user, its variables."""
    pod = node.pod()
    script = (
        "for kind in net ipc uts; do readlink /proc/self/ns/$kind; done; cat /etc/hosts /etc/hostname"
        "; echo $$ $HOSTNAME $COLOUR; id -u; id -G; touch /new && echo written"
    )
    status, log = node.run(
        pod,
        "sh",
        "-c",
        script,
        envs=[api.KeyValue(key="COLOUR", value=b"red")],
    )
    lines = log.splitlines()
    pins = node.pods.pinned[pod]
    for kind, line in zip(("net", "ipc", "uts"), lines[:3], strict=True):
        assert line == f"{kind}:[{os.stat(pins[kind]).st_ino}]"
    assert lines[3:5] == ["hosts of pod", "hostname of pod"]
    assert lines[5:] == ["1 pod red", "0", "0", "written"]
    assert status.reason == "Completed"
    assert (status.user.linux.uid, status.user.linux.gid) == (0, 0)


@pytest.mark.parametrize(
    ("security", "command", "expected"),
    [
        ({"run_as_user": api.Int64Value(value=65534)}, "id -u; id -g", "65534\n65534\n"),
        ({"run_as_username": "nobody", "supplemental_groups": [7]}, "id -u; id -G", "65534\n65534 7\n"),
        ({"readonly_rootfs": True}, "touch /new 2>/dev/null || echo refused", "refused\n"),
        ({"no_new_privs": True}, "grep NoNewPrivs /proc/self/status | cut -f2", "1\n"),
        (
            {"capabilities": api.Capability(drop_capabilities=["ALL"])},
            "grep CapBnd /proc/self/status | cut -f2",
            "0000000000000000\n",
        ),
        ({"masked_paths": ["/etc/passwd"]}, "cat /etc/passwd", ""),
        ({"seccomp": api.SecurityProfile()}, "grep Seccomp: /proc/self/status | cut -f2", "2\n"),
        ({}, "grep Seccomp: /proc/self/status | cut -f2", "0\n"),
    ],
)
def test_security(node: Stand, security: dict[str, Any], command: str, expected: str) -> None:
    """What a security context asks for is so inside."""
    _, log = node.run(node.pod(), "sh", "-c", command, linux=linux(**security))
    assert log == expected


@both
def test_privileged(node: Stand) -> None:
    """All of the host's devices and capabilities, and /sys can be written."""
    script = "test -c /dev/loop-control && echo device; grep ' /sys ' /proc/mounts | grep -c ' rw'"
    _, log = node.run(node.pod(), "sh", "-c", script, linux=linux(privileged=True))
    assert log == "device\n1\n"


@both
def test_mounts(node: Stand) -> None:
    """Host paths: missing ones are made, links are followed, read-only is so; the status tells the request's."""
    (node.place / "real").mkdir()
    (node.place / "link").symlink_to("real")
    missing = node.place / "made" / "for it"
    mounts = [
        api.Mount(host_path=str(node.place / "link"), container_path="/a/b"),
        api.Mount(host_path=str(missing), container_path="/a", readonly=True),
    ]
    script = "touch /a/b/new; touch /a/new 2>/dev/null || echo refused"
    missing.mkdir(parents=True)
    (missing / "b").mkdir()
    status, log = node.run(node.pod(), "sh", "-c", script, mounts=mounts)
    assert log == "refused\n"
    assert os.listdir(node.place / "real") == ["new"]
    assert list(status.mounts) == mounts


@both
def test_image_as_a_mount(node: Stand) -> None:
    """Read-only, also a part of it; the status says which image it is. What is not in the image is refused."""
    name = api.ImageSpec(image="registry.example/busybox:1.36")
    mounts = [
        api.Mount(container_path="/image", image=name, readonly=True),
        api.Mount(container_path="/part", image=name, image_sub_path="etc", readonly=True),
    ]
    script = "cat /part/group; test -e /image/bin/sh && ! touch /image/new 2>/dev/null && echo closed"
    status, log = node.run(node.pod(), "sh", "-c", script, mounts=mounts)
    assert log == "root:x:0:\nnobody:x:65534:\nclosed\n"
    assert [mount.image.image_ref for mount in status.mounts] == [node.images.get(name.image).id] * 2
    for wrong in ("../x", "none", "/etc/../../x"):
        mount = api.Mount(container_path="/image", image=name, image_sub_path=wrong, readonly=True)
        with pytest.raises(InvalidRequest):
            node.create(node.pod(f"pod-{len(wrong)}"), mounts=[mount])
    with pytest.raises(InvalidRequest, match="cannot be written"):
        node.create(node.pod("pod-w"), mounts=[api.Mount(container_path="/image", image=name)])


def test_missing_host_path_becomes_a_directory(node: Stand) -> None:
    missing = node.place / "made" / "here"
    mount = api.Mount(host_path=str(missing), container_path="/data")
    assert node.run(node.pod(), "sh", "-c", ">/data/new", mounts=[mount])[0].exit_code == 0
    assert os.listdir(missing) == ["new"]


def test_propagation(node: Stand) -> None:
    """What is mounted on the host later arrives, and with both directions what the container mounts arrives here."""
    shared = node.place / "shared"
    (shared / "inner").mkdir(parents=True)
    (shared / "outer").mkdir()
    subprocess.run(["mount", "--bind", shared, shared], check=True)
    try:
        mount = api.Mount(
            host_path=str(shared),
            container_path="/shared",
            propagation=api.MountPropagation.PROPAGATION_BIDIRECTIONAL,
        )
        subprocess.run(["mount", "--make-private", shared], check=True)
        with pytest.raises(InvalidRequest, match="shared"):
            node.create(node.pod("one"), mounts=[mount])
        subprocess.run(["mount", "--make-shared", shared], check=True)
        status, log = node.run(
            node.pod("two"),
            "sh",
            "-c",
            "mount -t tmpfs tmpfs /shared/inner && touch /shared/inner/file; ls /shared/inner",
            mounts=[mount],
            linux=linux(privileged=True),
        )
        assert (status.exit_code, log) == (0, "file\n")
        assert os.listdir(shared / "inner") == ["file"]
    finally:
        subprocess.run(["umount", "--recursive", shared], check=False)


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
def test_limits_and_their_update(node: Stand) -> None:
    """What is asked for is in the control group, before and after; the status tells it."""
    section = linux()
    section.resources.MergeFrom(
        api.LinuxContainerResources(memory_limit_in_bytes=64 << 20, cpu_shares=512, cpu_period=100000)
    )
    one = node.create(node.pod(), linux=section)
    node.containers.start(one)
    container = node.containers.open(one)
    assert container.stats().memory.limit == 64 << 20  # type: ignore[union-attr]
    change = api.LinuxContainerResources(memory_limit_in_bytes=128 << 20)
    node.containers.update_resources(api.UpdateContainerResourcesRequest(container_id=one, linux=change))
    assert node.containers.open(one).stats().memory.limit == 128 << 20  # type: ignore[union-attr]
    told = node.status(one).resources.linux
    assert (told.memory_limit_in_bytes, told.cpu_shares) == (128 << 20, 512)
    node.containers.stop(one, 0)
    assert node.status(one).state == STATES.CONTAINER_EXITED
    change = api.LinuxContainerResources(memory_limit_in_bytes=32 << 20)
    node.containers.update_resources(api.UpdateContainerResourcesRequest(container_id=one, linux=change))
    assert node.status(one).resources.linux.memory_limit_in_bytes == 32 << 20
    node.containers.remove(one)
    with pytest.raises(PodNotFound):
        node.containers.update_resources(api.UpdateContainerResourcesRequest(container_id=one, linux=change))


def score_of(pid: int | str) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@both
def test_scores_are_updated(node: Stand) -> None:
    """Those of all processes and later execs, unless one chose another; with the limits, or not at all."""
    section = linux()
    section.resources.oom_score_adj = 950
    own = "echo %d >/proc/self/oom_score_adj"
    script = f"sleep 1000 & {own % 970}; sleep 1000 & {own % 950}; wait"
    one = node.create(node.pod(), "sh", "-c", script, linux=section)
    node.containers.start(one)
    container = node.containers.open(one)
    until(lambda: sorted(map(score_of, container.processes())) == [950, 950, 970])

    def update(**limits: Any) -> None:
        change = api.LinuxContainerResources(**limits)
        request = api.UpdateContainerResourcesRequest(
            container_id=one, linux=change, annotations={"io.example/anything": "x"}
        )
        node.containers.update_resources(request)

    update(oom_score_adj=960)
    assert sorted(map(score_of, container.processes())) == [960, 960, 970]
    process = node.containers.exec_process(one, ["cat", "/proc/self/oom_score_adj"], tty=False)
    assert process.oom_score_adj == 960
    update(memory_limit_in_bytes=64 << 20)
    assert sorted(map(score_of, container.processes())) == [960, 960, 970]
    assert node.status(one).resources.linux.oom_score_adj == 960
    for wrong in ({"oom_score_adj": 1001}, {"oom_score_adj": 980, "cpuset_cpus": "4095"}):
        with pytest.raises(OciworksError):
            update(**wrong)
        assert sorted(map(score_of, container.processes())) == [960, 960, 970]
    assert node.status(one).resources.linux.oom_score_adj == 960


def test_scores_that_may_not_be_given(node: Stand) -> None:
    """Without the right to lower one nothing changes, and the error says so."""
    section = linux()
    section.resources.oom_score_adj = 900
    one = node.create(node.pod(), linux=section)
    node.containers.start(one)
    change = api.LinuxContainerResources(oom_score_adj=800, memory_limit_in_bytes=64 << 20)
    request = api.UpdateContainerResourcesRequest(container_id=one, linux=change)
    refused = f"/proc/{node.containers.open(one).pid}/oom_score_adj"
    with lowering_refused(refused), pytest.raises(ContainerError, match="OOM score 800 instead of 900"):
        node.containers.update_resources(request)
    assert score_of(node.containers.open(one).pid) == 900
    assert node.status(one).resources.linux.memory_limit_in_bytes == 0


@contextmanager
def lowering_refused(path: str) -> Iterator[None]:
    """As for a server without CAP_SYS_RESOURCE: a score is not set below what it was set to with it."""
    real = os.pwrite

    def pwrite(fd: int, data: bytes, at: int) -> int:
        if os.readlink(f"/proc/self/fd/{fd}") == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(fd, data, at)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        yield


@both
def test_out_of_memory(node: Stand) -> None:
    """The reason says so."""
    section = linux()
    section.resources.memory_limit_in_bytes = 8 << 20
    section.resources.memory_swap_limit_in_bytes = 8 << 20
    script = "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x$x$x; done"
    status, _ = node.run(node.pod(), "sh", "-c", script, linux=section)
    assert (status.reason, status.exit_code) == ("OOMKilled", 137)


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


@both
def test_exec_has_the_container_s_process(node: Stand) -> None:
    """Variables, user, capabilities and directory are inherited; a terminal brings TERM."""
    section = linux(run_as_user=api.Int64Value(value=65534))
    one = node.create(node.pod(), envs=[api.KeyValue(key="A", value=b"b")], linux=section, working_dir="/etc")
    node.containers.start(one)
    process = node.containers.exec_process(one, ["sh", "-c", "echo $A; id -u; pwd"], tty=False)
    assert node.containers.open(one).exec(process).stdout == b"b\n65534\n/etc\n"
    assert "TERM=xterm" in node.containers.exec_process(one, ["sh"], tty=True).env


@both
def test_target_of_a_process_namespace(node: Stand) -> None:
    """Another container of the same pod, that runs; nothing else."""
    pod, other = node.pod("one"), node.pod("two")
    target, stranger = node.create(pod, name="target"), node.create(other)
    node.containers.start(target)
    node.containers.start(stranger)

    def targeting(id: str) -> api.LinuxContainerConfig:
        options = api.NamespaceOption(pid=MODES.TARGET, target_id=id)
        return linux(namespace_options=options)

    _, log = node.run(pod, "ps", name="debug", linux=targeting(target))
    assert "sleep 1000" in log
    for wrong in (stranger, "f" * 64, target[:12], ""):
        with pytest.raises(InvalidRequest):
            node.create(pod, name="wrong", linux=targeting(wrong))


def test_volumes_of_the_image(place: Path, registry: testing.Registry) -> None:
    """They begin with the image's content, can be written in a read-only root, and go with the container."""
    from ociworks.image import remote
    from ociworks.spec.image import Config
    from ociworks.testing import File, image_from_files
    from tests.interop.peers import busybox

    files: dict[str, bytes | File] = {
        "bin/busybox": File(busybox().read_bytes(), 0o755),
        "bin/sh": File(link="busybox"),
        "bin/cat": File(link="busybox"),
        "data/inner/file": b"content",
        "elsewhere": File(link="/data"),
    }
    config = Config(cmd=("sh",), volumes=("/data", "/elsewhere", "/new"))
    with remote.Client() as client:
        client.push(image_from_files(files, config=config), f"{registry.host}/volumes:1")
    with stand(place, registry.url) as node:
        name = api.ImageSpec(image="registry.example/volumes:1")
        node.images.pull(name, api.AuthConfig(), api.PodSandboxConfig())
        script = "cat /data/inner/file /elsewhere/inner/file; echo x > /data/y; echo x > /new/y; echo x > /z"
        status, log = node.run(
            node.pod(), "sh", "-c", f"{script} || exit 9", image=name, linux=linux(readonly_rootfs=True)
        )
        assert status.exit_code == 9
        assert "contentcontent" in log
        assert sorted(os.listdir(Path(node.config.root) / "containers" / status.id / "volumes")) == list(
            "012"
        )
        node.containers.remove(status.id)
        assert left(node, status.id) == []


def left(node: Stand, id: str) -> list[str]:
    """What is still there of a container: directories, mounts, control groups."""
    found = [
        f"{directory}/{name}"
        for top in (node.config.root, node.config.state, "/sys/fs/cgroup")
        for directory, names, _ in os.walk(top)
        for name in names
        if id in name
    ]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return found + [line for line in mounts if id in line]
