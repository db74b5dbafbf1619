"""Everything that decides what a container's configuration is, gathered before the first line of it is written."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from ociworks.cri.config import CriConfig, Handler
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.spec import FrozenDict
from ociworks.spec.image import ImageConfiguration

__all__ = ["PodFiles", "Request", "Source"]


@frozen(kw_only=True)
class PodFiles:
    """What a pod shares with its containers, as paths on the host; empty for what it has none of."""

    hosts: str = ""
    hostname: str = ""
    resolv_conf: str = ""
    shm: str = ""
    """A directory: the pod's own tmpfs, or the host's."""


@frozen(kw_only=True)
class Source:
    """One requested mount, with its place on the host found once."""

    mount: api.Mount
    path: str
    """Absolute, free of links when it was looked at."""


@frozen(kw_only=True)
class Request:
    """One container to be made."""

    id: str
    sandbox_id: str
    config: api.ContainerConfig
    pod: api.PodSandboxConfig
    """As the pod was made, not as a later request says."""
    image: ImageConfiguration
    server: CriConfig
    handler: Handler
    foreign: bool = False
    """Whether it is made by another runtime than our own."""
    cgroup_parent: str
    """Of the pod: a path, or with systemd a slice."""
    namespaces: Mapping[str, str] = field(factory=FrozenDict)
    """Those of the pod, by the specification's names; without ``network``, ``ipc`` or ``uts`` it has the host's."""
    target_pid: str = ""
    """The process namespace of the target container, when one is named."""
    files: PodFiles = field(factory=PodFiles)
    sources: tuple[Source, ...] = ()
    """One for each requested mount."""
    volumes: Mapping[str, str] = field(factory=FrozenDict)
    """Directories of the container's own for the volumes that its image declares, by their place."""
    rootfd: int | None = None
    """A directory with the image's databases of users; None: only numbers are known."""
    rootfs: str = "rootfs"

    @property
    def security(self) -> api.LinuxContainerSecurityContext:
        """The security context; an empty one when there is none."""
        return self.config.linux.security_context

    @property
    def privileged(self) -> bool:
        """Whether nothing is to be held back."""
        return self.security.privileged

    @property
    def joins_user_namespace(self) -> bool:
        """Whether the pod's users are not the host's."""
        return "user" in self.namespaces
