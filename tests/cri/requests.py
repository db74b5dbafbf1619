"""Requests for containers, as a kubelet would make them, without a server."""

from __future__ import annotations

from typing import Any

import attrs

from ociworks.cri.config import CriConfig, Handler
from ociworks.cri.container.translate import PodFiles, Request, Translated, translate
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.spec import FrozenDict
from ociworks.spec.image import Config, ImageConfiguration, RootFS
from ociworks.spec.runtime import Linux, Mount, Process, Spec

__all__ = ["MODES", "POD", "image", "linux", "linux_of", "mount_at", "process_of", "request", "translated"]

MODES = api.NamespaceMode
POD = FrozenDict({"network": "/pins/net", "ipc": "/pins/ipc", "uts": "/pins/uts"})


def image(**settings: Any) -> ImageConfiguration:
    """An image whose configuration has these settings, and a command."""
    config = Config(**{"cmd": ("/bin/server",), **settings})
    return ImageConfiguration(architecture="amd64", os="linux", config=config, rootfs=RootFS(diff_ids=()))


def linux(**security: Any) -> api.LinuxContainerConfig:
    """A Linux section with this security context, in a process namespace of its own unless it says otherwise."""
    context = api.LinuxContainerSecurityContext(namespace_options=api.NamespaceOption(pid=MODES.CONTAINER))
    context.MergeFrom(api.LinuxContainerSecurityContext(**security))
    return api.LinuxContainerConfig(security_context=context)


_FIELDS = frozenset(field.name for field in attrs.fields(Request))


def request(**settings: Any) -> Request:
    """A request; ``settings`` are its fields, or those of its ContainerConfig."""
    fields = {name: settings.pop(name) for name in list(settings) if name in _FIELDS}
    config = api.ContainerConfig(metadata=api.ContainerMetadata(name="main"), linux=linux())
    if "linux" in settings:
        config.ClearField("linux")
    config.MergeFrom(api.ContainerConfig(**settings))
    values: dict[str, Any] = {
        "id": "c" * 64,
        "sandbox_id": "5" * 64,
        "config": config,
        "pod": api.PodSandboxConfig(
            metadata=api.PodSandboxMetadata(name="pod", namespace="ns", uid="u"), hostname="box"
        ),
        "image": image(),
        "server": CriConfig(),
        "handler": Handler(),
        "cgroup_parent": "/kubepods/pod1",
        "namespaces": POD,
        "files": PodFiles(),
    }
    return Request(**(values | fields))


def translated(**settings: Any) -> Translated:
    """What becomes of such a request."""
    return translate(request(**settings))


def process_of(**settings: Any) -> Process:
    """Its process."""
    process = translated(**settings).spec.process
    assert process is not None
    return process


def linux_of(**settings: Any) -> Linux:
    """Its Linux section."""
    section = translated(**settings).spec.linux
    assert section is not None
    return section


def mount_at(spec_: Spec, place: str) -> Mount:
    """The first mount at a place."""
    return next(mount for mount in spec_.mounts if mount.destination == place)
