"""AppArmor profiles of containers in pods, where a kernel has them: run in a virtual machine."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from ociworks.cri import CriService
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.testing import Registry
from tests.cri.nodes import IMAGE, Client, config_below, container_config, pod_config, serving
from tests.runtime.test_apparmor import profile, pytestmark

__all__ = ["profile", "pytestmark"]

NAME = "ociworks-test"
CONFINED, FREE = f"{NAME} (enforce)\n", "unconfined\n"
TYPES = api.SecurityProfile.ProfileType
LOOK = ("cat", "/proc/self/attr/current")


def container(
    cri: Client, pod: str, config: api.PodSandboxConfig, security: api.LinuxContainerSecurityContext
) -> str:
    """A container with these settings, which sleeps."""
    asked = container_config()
    asked.linux.security_context.CopyFrom(security)
    request = api.CreateContainerRequest(pod_sandbox_id=pod, config=asked, sandbox_config=config)
    made = cri.runtime.CreateContainer(request).container_id
    cri.runtime.StartContainer(api.StartContainerRequest(container_id=made))
    return made


def confinement(cri: Client, pod: str, config: api.PodSandboxConfig, **security: object) -> str:
    """Under which profile the program of such a container runs; the container is gone then."""
    settings = api.LinuxContainerSecurityContext(**security)  # type: ignore[arg-type]
    made = container(cri, pod, config, settings)
    told = cri.runtime.ExecSync(api.ExecSyncRequest(container_id=made, cmd=LOOK, timeout=100)).stdout.decode()
    pid = next(iter(cri.node.containers.open(made).processes()))
    assert Path(f"/proc/{pid}/attr/current").read_text() == told
    cri.runtime.RemoveContainer(api.RemoveContainerRequest(container_id=made))
    return told


def localhost(name: str) -> api.SecurityProfile:
    """A profile by its name."""
    return api.SecurityProfile(profile_type=TYPES.Localhost, localhost_ref=name)


def test_profiles_of_containers(place: Path, registry: Registry) -> None:
    """Named ones are in force, for execs too; unconfined is what says so; what is not loaded runs nothing."""
    settings = config_below(place, registry.url, apparmor_default_profile=NAME)
    with CriService(settings) as service, serving(service, place) as cri:
        cri.images.PullImage(api.PullImageRequest(image=api.ImageSpec(image=IMAGE)))
        config = pod_config(place)
        pod = cri.runtime.RunPodSandbox(api.RunPodSandboxRequest(config=config)).pod_sandbox_id
        try:
            assert confinement(cri, pod, config) == CONFINED
            unconfined = api.SecurityProfile(profile_type=TYPES.Unconfined)
            assert confinement(cri, pod, config, apparmor=unconfined) == FREE
            with pytest.raises(grpc.RpcError) as refused:
                confinement(cri, pod, config, apparmor=localhost("no-such-profile"))
            assert "not loaded" in (refused.value.details() or "")
            assert not cri.runtime.ListContainers(api.ListContainersRequest()).containers
        finally:
            cri.remove_pods()


def test_a_default_profile_that_is_not_loaded(cri: Client, place: Path) -> None:
    """Then it is none; a named one is in force all the same, whichever field names it, but not when privileged."""
    cri.images.PullImage(api.PullImageRequest(image=api.ImageSpec(image=IMAGE)))
    config = pod_config(place)
    pod = cri.runtime.RunPodSandbox(api.RunPodSandboxRequest(config=config)).pod_sandbox_id
    default = api.SecurityProfile(profile_type=TYPES.RuntimeDefault)
    assert confinement(cri, pod, config, apparmor=default) == FREE
    both = {"apparmor": localhost(f"localhost/{NAME}"), "apparmor_profile": "localhost/no-such-profile"}
    assert confinement(cri, pod, config, **both) == CONFINED
    config.linux.security_context.privileged = True
    privileged = cri.runtime.RunPodSandbox(
        api.RunPodSandboxRequest(config=pod_config(place, "privileged", linux=config.linux))
    ).pod_sandbox_id
    assert confinement(cri, privileged, config, privileged=True, apparmor=localhost(NAME)) == FREE
