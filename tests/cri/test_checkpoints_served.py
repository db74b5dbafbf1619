"""Containers and pods to disk and back, through a server, where criu works."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import grpc
import pytest

from ociworks import image, testing
from ociworks.cri.checkpoints.saved import CHECKPOINT_NAMES
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.recovery import recover
from ociworks.image import remote
from tests.cri.nodes import IMAGE, Client, container_config, pod_config
from tests.cri.test_containers_served import connect
from tests.interop.peers import peer

pytestmark = [pytest.mark.root, pytest.mark.interop]

SCRIPT = """
echo kept >/kept; rm /etc/group
i=5; while read x; do i=$((i+1)); echo $i $x; done
cat /kept; ls /etc/group 2>/dev/null; exit 7
"""


@pytest.fixture(autouse=True)
def works() -> None:
    """Skips where criu cannot checkpoint anything: its own check says why."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    done = subprocess.run([peer("criu"), "check"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"criu does not work on this kernel: {done.stderr.strip()[-200:]}")


def run_pod(cri: Client, place: Path, name: str) -> tuple[str, api.PodSandboxConfig]:
    """A pod with a network of its own."""
    config = pod_config(place, name)
    config.linux.security_context.namespace_options.network = api.NamespaceMode.POD
    return cri.runtime.RunPodSandbox(api.RunPodSandboxRequest(config=config)).pod_sandbox_id, config


def say(cri: Client, container: str, text: bytes) -> bytes:
    """What its program answers to one line."""
    with cri.node.containers.open(container).attach(stdin=True) as attached:
        attached.write(text)
        chunk = attached.read(timeout=60)
        assert chunk is not None
        return bytes(chunk.data)


def state_of(cri: Client, container: str) -> int:
    request = api.ContainerStatusRequest(container_id=container)
    return int(cri.runtime.ContainerStatus(request).status.state)


def create(cri: Client, pod: tuple[str, api.PodSandboxConfig], config: api.ContainerConfig) -> str:
    request = api.CreateContainerRequest(pod_sandbox_id=pod[0], config=config, sandbox_config=pod[1])
    made: str = cri.runtime.CreateContainer(request).container_id
    return made


def start(cri: Client, container: str) -> None:
    cri.runtime.StartContainer(api.StartContainerRequest(container_id=container))


def ended(cri: Client, container: str, place: Path) -> tuple[int, list[str]]:
    """Its exit status and what its log says, once its input has ended."""
    with cri.node.containers.open(container).attach(stdin=True) as attached:
        attached.close_stdin()
        assert [chunk.data for chunk in attached]
    cri.runtime.StopContainer(api.StopContainerRequest(container_id=container, timeout=60))
    status = cri.runtime.ContainerStatus(api.ContainerStatusRequest(container_id=container)).status
    lines = Path(status.log_path).read_text().splitlines()
    return status.exit_code, [line.split(" ", 3)[3] for line in lines]


def test_a_container_comes_back_in_another_pod(cri: Client, place: Path, registry: testing.Registry) -> None:
    """With its memory, its files and its log, at another address; it runs when it is started, and not before."""
    connect(place)
    cri.images.PullImage(api.PullImageRequest(image=api.ImageSpec(image=IMAGE)))
    config = container_config("sh", "-c", SCRIPT, stdin=True)
    config.linux.security_context.SetInParent()
    container = create(cri, run_pod(cri, place, "one"), config)
    start(cri, container)
    assert say(cri, container, b"a\n") == b"6 a\n"
    location = place / "x.tar"
    request = api.CheckpointContainerRequest(container_id=container, location=str(location))
    cri.runtime.CheckpointContainer(request)
    assert say(cri, container, b"b\n") == b"7 b\n"

    two = run_pod(cri, place, "two")
    narrow = container_config("sh", stdin=True, image=str(location))
    narrow.linux.security_context.CopyFrom(config.linux.security_context)
    narrow.linux.security_context.capabilities.drop_capabilities.append("ALL")
    with pytest.raises(grpc.RpcError, match="go beyond the configuration"):
        create(cri, two, narrow)
    assert not cri.node.store.containers.of_sandbox(two[0])

    cri.images.PullImage(api.PullImageRequest(image=api.ImageSpec(image=as_image(location, registry))))
    config.image.image = "registry.example/saved:1"
    again = create(cri, two, config)
    recover(cri.node)  # as a server does that starts now
    assert state_of(cri, again) == api.ContainerState.CONTAINER_CREATED
    start(cri, again)
    assert state_of(cri, again) == api.ContainerState.CONTAINER_RUNNING
    assert say(cri, again, b"c\n") == b"7 c\n"
    done = cri.runtime.ExecSync(api.ExecSyncRequest(container_id=again, cmd=["hostname"], timeout=60))
    assert done.stdout == b"two\n"
    code, log = ended(cri, again, place)
    assert code == 7
    assert log == ["6 a", "7 c", "kept"]


def as_image(archive: Path, registry: testing.Registry) -> str:
    """The archive as an image of a registry, the way that checkpoints travel."""
    layer = image.Layer.from_tar(archive)
    made = image.mutate.append(testing.image_from_files({}), layer)
    made = image.mutate.annotate(made, {CHECKPOINT_NAMES[0]: "main"})
    with remote.Client() as client:
        client.push(made, f"{registry.host}/saved:1")
    return "registry.example/saved:1"


def test_a_pod_with_users_never_comes_back(cri: Client, place: Path) -> None:
    """It can be looked at: its containers are written. criu cannot join its user namespace."""
    connect(place)
    cri.images.PullImage(api.PullImageRequest(image=api.ImageSpec(image=IMAGE)))
    ids = [api.IDMapping(host_id=200000, container_id=0, length=65536)]
    users = api.UserNamespace(mode=api.NamespaceMode.POD, uids=ids, gids=ids)
    pod = pod_config(place, "one")
    options = pod.linux.security_context.namespace_options
    options.network = api.NamespaceMode.POD
    options.userns_options.CopyFrom(users)
    made = cri.runtime.RunPodSandbox(api.RunPodSandboxRequest(config=pod)).pod_sandbox_id
    config = container_config("sh", "-c", SCRIPT, stdin=True)
    config.linux.security_context.namespace_options.userns_options.CopyFrom(users)
    container = create(cri, (made, pod), config)
    start(cri, container)
    assert say(cri, container, b"a\n") == b"6 a\n"
    location = str(place / "x.tar")
    cri.runtime.CheckpointContainer(api.CheckpointContainerRequest(container_id=container, location=location))
    assert say(cri, container, b"b\n") == b"7 b\n"
    config.image.image = location
    config.metadata.attempt = 1
    with pytest.raises(grpc.RpcError, match="without a user namespace"):
        create(cri, (made, pod), config)


def test_a_pod_comes_back(cri: Client, place: Path) -> None:
    """All of its containers, in a pod of the request."""
    cri.images.PullImage(api.PullImageRequest(image=api.ImageSpec(image=IMAGE)))
    config = pod_config(place, "one")
    pod = cri.runtime.RunPodSandbox(api.RunPodSandboxRequest(config=config)).pod_sandbox_id
    configs = [container_config("sh", "-c", SCRIPT, name=name, stdin=True) for name in ("main", "side")]
    for each in configs:
        container = create(cri, (pod, config), each)
        start(cri, container)
        assert say(cri, container, b"a\n") == b"6 a\n"
    request = api.CheckpointPodRequest(pod_sandbox_id=pod, output_path=f"{place}/saved")
    cri.runtime.CheckpointPod(request)
    cri.remove_pods()
    restoring = api.RestorePodRequest(
        checkpoint_path=f"{place}/saved", config=pod_config(place, "one"), container_configs=configs
    )
    found = cri.runtime.RestorePod(restoring)
    assert {each.name for each in found.restored_containers} == {"main", "side"}
    for restored in found.restored_containers:
        assert say(cri, restored.container_id, b"b\n") == b"7 b\n"
