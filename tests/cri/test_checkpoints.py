"""Checkpoints: what an archive holds and where it is put, with a stand-in for criu; what is said without one."""

from __future__ import annotations

import json
import os
import stat
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import define, field

from ociworks.cri.checkpoints import Checkpoints
from ociworks.cri.locks import KeyedLocks
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import (
    CheckpointFailed,
    ContainerTimeout,
    DeadlinePassed,
    InvalidRequest,
    MissingDependency,
    NotSupported,
    PodError,
    PodNotFound,
    PodStateError,
)
from ociworks.runtime import CheckpointOptions
from ociworks.spec import Bundle, to_json
from ociworks.spec.runtime import Spec
from tests.cri.counted import Counted, counted
from tests.cri.nodes import config_below


@define
class FakeContainers:
    """Containers that a stand-in for criu can dump."""

    place: Path
    dump: Callable[[CheckpointOptions], None]
    asked: list[CheckpointOptions] = field(factory=list)
    states: dict[str, str] = field(factory=dict)
    steps: list[str] = field(factory=list)
    fails: str = ""

    def open(self, id: str) -> Any:
        if self.states.get(id, "running") != "running":
            raise PodStateError(f"container {id}: expected a running one")
        return SimpleNamespace(
            checkpoint=self._checkpoint,
            bundle=str(self.place / "bundle"),
            pause=lambda: self.steps.append("pause"),
            resume=lambda: self.steps.append("resume"),
        )

    def spec_of(self, container: Any) -> Spec:
        return Bundle.load(container.bundle).spec

    def create(
        self,
        sandbox_id: str,
        config: api.ContainerConfig,
        pod_config: api.PodSandboxConfig,
        *,
        archive: str = "",
    ) -> str:
        self.steps.append(f"create {config.metadata.name} of {Path(archive).name} in {sandbox_id}")
        return config.metadata.name

    def start(self, id: str) -> None:
        if id == self.fails:
            raise CheckpointFailed("no", log="")
        self.steps.append(f"start {id}")

    def status(self, id: str, *, verbose: bool = False) -> api.ContainerStatusResponse:
        image = api.ImageSpec(image="registry.example/app:1")
        return api.ContainerStatusResponse(status=api.ContainerStatus(id=id, image=image))

    def _checkpoint(self, options: CheckpointOptions) -> None:
        self.asked.append(options)
        self.steps.append("checkpoint")
        self.dump(options)


@define
class FakeSandboxes:
    """Pods that are made and removed."""

    containers: FakeContainers

    def run(self, config: api.PodSandboxConfig, handler: str) -> str:
        self.containers.steps.append(f"run {config.metadata.name} by {handler}")
        return "pod"

    def remove(self, id: str) -> None:
        self.containers.steps.append(f"remove {id}")


@define
class Dumped:
    """Checkpoints over records that a test writes."""

    node: Counted
    containers: FakeContainers
    checkpoints: Checkpoints

    def write(self, id: str, location: Path | str, timeout: int = 0) -> None:
        self.checkpoints.checkpoint_container(
            api.CheckpointContainerRequest(container_id=id, location=str(location), timeout=timeout)
        )


def dump(options: CheckpointOptions) -> None:
    """What criu leaves."""
    for directory, name in ((options.image_path, "pages-1.img"), (options.work_path, "dump.log")):
        os.makedirs(directory, mode=0o700, exist_ok=True)
        Path(directory, name).write_bytes(name.encode())


@pytest.fixture
def dumped(tmp_path: Path) -> Iterator[Dumped]:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "config.json").write_bytes(to_json(Spec(oci_version="1.2.0", hostname="saved")))
    Bundle.load(str(bundle))
    with counted(tmp_path) as node:
        containers = FakeContainers(place=tmp_path, dump=dump)
        checkpoints = Checkpoints(
            config_below(tmp_path), node.store, KeyedLocks(), containers, FakeSandboxes(containers)
        )
        yield Dumped(node=node, containers=containers, checkpoints=checkpoints)


def content(archive: Path) -> dict[str, bytes]:
    """The files in an archive, as another reader sees them."""
    with tarfile.open(archive) as opened:
        files = [item for item in opened if item.isfile()]
        return {item.name: opened.extractfile(item).read() for item in files}  # type: ignore[union-attr]


def left(place: Path) -> set[str]:
    """What is there beside what a test made."""
    made = {"root", "bundle", "cri.db", "cri.db-wal", "cri.db-shm"}
    assert os.listdir(place / "root") in ([], ["containers"])
    return set(os.listdir(place)) - made


def test_a_container(dumped: Dumped, tmp_path: Path) -> None:
    """The files that checkpointctl looks for, the changes of the container, its log; nothing else is left."""
    (tmp_path / "app.log").write_bytes(b"a line\n")
    main = dumped.node.container(dumped.node.pod("web"), "main", log_path=str(tmp_path / "app.log"))
    upper = tmp_path / "root" / "containers" / main / "upper"
    upper.mkdir(parents=True)
    (upper / "new").write_bytes(b"changed")
    location = tmp_path / "checkpoint.tar"
    dumped.write(main, location, timeout=60)
    found = content(location)
    assert found["checkpoint/pages-1.img"] == b"pages-1.img"
    assert found["dump.log"] == b"dump.log"
    assert found["container.log"] == b"a line\n"
    assert json.loads(found["spec.dump"])["hostname"] == "saved"
    assert json.loads(found["config.dump"])["id"] == main
    assert json.loads(found["config.dump"])["rootfsImage"] == "registry.example/app:1"
    assert json.loads(found["status.dump"])["id"] == main
    (tmp_path / "diff.tar").write_bytes(found["rootfs-diff.tar"])
    assert content(tmp_path / "diff.tar") == {"new": b"changed"}
    assert stat.S_IMODE(location.stat().st_mode) == 0o600
    assert dumped.containers.asked[0].leave_running
    assert left(tmp_path) == {"checkpoint.tar", "app.log", "diff.tar"}


def test_a_pod(dumped: Dumped, tmp_path: Path) -> None:
    """All that run, or those asked for; the directory is there whole or not at all."""
    pod = dumped.node.pod("web")
    main = dumped.node.container(pod, "main")
    side = dumped.node.container(pod, "side", phase="exited")
    dumped.containers.states[side] = "exited"
    place = tmp_path / "pod"
    request = api.CheckpointPodRequest(pod_sandbox_id=pod, output_path=str(place))
    dumped.checkpoints.checkpoint_pod(request)
    assert set(os.listdir(place)) == {"pod.dump", f"{main}.tar"}
    described = json.loads((place / "pod.dump").read_bytes())
    assert described["containers"] == {"main": f"{main}.tar"}
    assert described["config"]["metadata"]["name"] == "web"
    with pytest.raises(InvalidRequest, match="exists already"):
        dumped.checkpoints.checkpoint_pod(request)
    request.output_path = str(tmp_path / "other")
    request.container_ids.append(side)
    with pytest.raises(PodStateError):
        dumped.checkpoints.checkpoint_pod(request)
    request.container_ids[:] = ["ff" * 32]
    with pytest.raises(InvalidRequest, match="no container of pod"):
        dumped.checkpoints.checkpoint_pod(request)
    request.options["x"] = "y"
    with pytest.raises(InvalidRequest, match="options"):
        dumped.checkpoints.checkpoint_pod(request)
    assert left(tmp_path) == {"pod"}


def test_pods_that_are_not_ready(dumped: Dumped, tmp_path: Path) -> None:
    pod = dumped.node.pod("web", phase="notready")
    request = api.CheckpointPodRequest(pod_sandbox_id=pod, output_path=str(tmp_path / "x"))
    with pytest.raises(PodStateError):
        dumped.checkpoints.checkpoint_pod(request)


@pytest.mark.parametrize(
    "location", ["relative.tar", "/", "/tmp/..", "/no/such/directory/x.tar", "/etc/passwd/x"]
)
def test_places_that_are_none(dumped: Dumped, location: str) -> None:
    """They are refused before anything is dumped."""
    main = dumped.node.container(dumped.node.pod("web"), "main")
    with pytest.raises(InvalidRequest, match="location"):
        dumped.write(main, location)
    assert not dumped.containers.asked


def test_who_can_be_written(dumped: Dumped, tmp_path: Path) -> None:
    """Whole IDs, running containers, times that are none below nothing."""
    main = dumped.node.container(dumped.node.pod("web"), "main")
    with pytest.raises(PodNotFound):
        dumped.write(main[:12], tmp_path / "x.tar")
    with pytest.raises(InvalidRequest, match="timeout"):
        dumped.write(main, tmp_path / "x.tar", timeout=-1)
    dumped.containers.states[main] = "exited"
    with pytest.raises(PodStateError):
        dumped.write(main, tmp_path / "x.tar")
    assert left(tmp_path) == set()


@pytest.mark.parametrize("error", [MissingDependency("no criu"), OSError(28, "full")])
def test_a_dump_that_fails_leaves_nothing(dumped: Dumped, tmp_path: Path, error: Exception) -> None:
    """Neither an archive nor a part of one; what was there stays."""
    location = tmp_path / "x.tar"
    location.write_bytes(b"before")

    def fail(options: CheckpointOptions) -> None:
        dump(options)
        raise error

    dumped.containers.dump = fail
    main = dumped.node.container(dumped.node.pod("web"), "main")
    with pytest.raises(PodError if isinstance(error, OSError) else type(error)):
        dumped.write(main, location)
    assert location.read_bytes() == b"before"
    assert left(tmp_path) == {"x.tar"}


@pytest.mark.parametrize(("works", "kind"), [(True, CheckpointFailed), (False, NotSupported)])
def test_what_criu_said_is_told(
    dumped: Dumped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool, kind: type[Exception]
) -> None:
    """Its log is gone with the directory, so the message has it; a criu that cannot work here is said to be none."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "criu").write_text(f"#!/bin/sh\nexit {0 if works else 1}\n")
    (programs / "criu").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/bin:/usr/bin")

    def fail(options: CheckpointOptions) -> None:
        dump(options)
        Path(options.work_path, "dump.log").write_text("(00.1) Error (criu/vdso.c:381): vdso: strange\n")
        raise CheckpointFailed("criu failed", log="/somewhere")

    dumped.containers.dump = fail
    main = dumped.node.container(dumped.node.pod("web"), "main")
    with pytest.raises(kind, match="vdso: strange"):
        dumped.write(main, tmp_path / "x.tar")
    assert left(tmp_path) == {"programs"}


def test_too_late(dumped: Dumped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that was not written in time is not there."""
    main = dumped.node.container(dumped.node.pod("web"), "main")
    now = time.monotonic()

    def slowly(options: CheckpointOptions) -> None:
        dump(options)
        monkeypatch.setattr("ociworks.cri.checkpoints.archive.time.monotonic", lambda: now + 1000)

    dumped.containers.dump = slowly
    with pytest.raises(DeadlinePassed):
        dumped.write(main, tmp_path / "x.tar", timeout=10)
    assert left(tmp_path) == set()


@pytest.mark.parametrize(("asked", "given"), [(10, 10), (0, 600)])
def test_criu_has_no_longer(dumped: Dumped, tmp_path: Path, asked: int, given: int) -> None:
    """The container stands still while criu is at it: a criu that hangs is ended, asked for or not."""

    def hang(options: CheckpointOptions) -> None:
        assert options.timeout is not None
        assert 0 < options.timeout <= given
        raise ContainerTimeout("criu did not end", timeout=options.timeout)

    dumped.containers.dump = hang
    main = dumped.node.container(dumped.node.pod("web"), "main")
    with pytest.raises(DeadlinePassed, match="criu did not end"):
        dumped.write(main, tmp_path / "x.tar", timeout=asked)
    assert dumped.containers.steps == ["pause", "checkpoint", "resume"]
    assert left(tmp_path) == set()


def restoring(dumped: Dumped, place: Path) -> api.RestorePodRequest:
    """What is asked for to have a pod again that was written to ``place``."""
    pod = dumped.node.pod("web")
    for name in ("main", "side"):
        dumped.node.container(pod, name)
    dumped.checkpoints.checkpoint_pod(api.CheckpointPodRequest(pod_sandbox_id=pod, output_path=str(place)))
    dumped.containers.steps.clear()
    return api.RestorePodRequest(
        checkpoint_path=str(place),
        config=api.PodSandboxConfig(metadata=api.PodSandboxMetadata(name="again")),
        runtime_handler="ociworks",
        container_configs=[
            api.ContainerConfig(metadata=api.ContainerMetadata(name=name)) for name in ("side", "main")
        ],
    )


def test_a_pod_comes_back(dumped: Dumped, tmp_path: Path) -> None:
    """All containers are made before the first runs; each is told by its name."""
    found = dumped.checkpoints.restore_pod(restoring(dumped, tmp_path / "pod"))
    assert found.pod_sandbox_id == "pod"
    assert {each.name: each.container_id for each in found.restored_containers} == {
        "main": "main",
        "side": "side",
    }
    steps = dumped.containers.steps
    assert steps[0] == "run again by ociworks"
    assert all(f"create {name} of" in " ".join(steps[1:3]) for name in ("main", "side"))
    assert set(steps[3:]) == {"start main", "start side"}


def test_a_pod_comes_back_whole_or_not_at_all(dumped: Dumped, tmp_path: Path) -> None:
    request = restoring(dumped, tmp_path / "pod")
    dumped.containers.fails = "side"
    with pytest.raises(CheckpointFailed):
        dumped.checkpoints.restore_pod(request)
    assert dumped.containers.steps[-1] == "remove pod"
    dumped.containers.steps.clear()
    del request.container_configs[0]
    with pytest.raises(InvalidRequest, match="'side' has only an archive"):
        dumped.checkpoints.restore_pod(request)
    request.options["x"] = "y"
    with pytest.raises(InvalidRequest, match="options"):
        dumped.checkpoints.restore_pod(request)
    assert not dumped.containers.steps


def test_it_stands_still_meanwhile(dumped: Dumped, tmp_path: Path) -> None:
    """Until its files are read as well; and it goes on, also when criu failed."""
    main = dumped.node.container(dumped.node.pod("web"), "main")
    dumped.write(main, tmp_path / "x.tar")
    assert dumped.containers.steps == ["pause", "checkpoint", "resume"]

    def fail(_: CheckpointOptions) -> None:
        raise MissingDependency("no criu")

    dumped.containers.dump = fail
    with pytest.raises(MissingDependency):
        dumped.write(main, tmp_path / "y.tar")
    assert dumped.containers.steps[3:] == ["pause", "checkpoint", "resume"]
