"""What containers in pods see: users, rights, mounts, limits and scores, with real images and runtimes."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ociworks import testing
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import (
    ContainerError,
    InvalidRequest,
    OciworksError,
    PodNotFound,
)
from tests.cri.requests import linux
from tests.cri.stands import MODES, Stand, both, left, stand, until

pytestmark = pytest.mark.root


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
    assert node.status(one).state == api.CONTAINER_EXITED
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
