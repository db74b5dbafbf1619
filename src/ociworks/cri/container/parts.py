"""What containers need of the other parts of a node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from attrs import field, frozen

from ociworks.cri._ending import Ending
from ociworks.cri.config import Handler
from ociworks.cri.images import ContainerRoot, LocalImage, UserNamespace
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import ContainerRecord, SandboxRecord
from ociworks.runtime.protocol import OCIRuntime

__all__ = [
    "Files",
    "Handlers",
    "Images",
    "Others",
    "Sandboxes",
]


class Handlers(Protocol):
    """Runtimes by name."""

    def get(self, name: str) -> OCIRuntime:
        """The runtime of this name, empty for the default one. InvalidRequest when there is none."""

    def chosen(self, name: str) -> str:
        """The name itself, or the default one's for none. InvalidRequest when it is unknown."""

    def settings(self, name: str) -> Handler:
        """What the configuration says of it."""


class Images(Protocol):
    """The images of the node."""

    def get(self, name: str) -> LocalImage:
        """The image of this name or ID; ImageNotFound."""

    def root(
        self, container_id: str, local: LocalImage, *, users: UserNamespace | None, mounted: bool
    ) -> ContainerRoot:
        """The root filesystem for a container, until it is released."""

    def mount_of(self, container_id: str, image: str, subpath: str, *, users: UserNamespace | None) -> str:
        """The path of an image, or of something in it, to be mounted read-only."""

    def release(self, container_id: str) -> None:
        """Take away the root and the mounts of a container."""


class Files(Protocol):
    """What containers of a pod get mounted."""

    @property
    def hosts(self) -> str:
        """The path of ``hosts``."""

    @property
    def hostname(self) -> str:
        """The path of ``hostname``."""

    @property
    def resolv_conf(self) -> str:
        """The path of ``resolv.conf``."""

    @property
    def shm(self) -> str:
        """The directory of shared memory."""


class Sandboxes(Protocol):
    """The pods of the node."""

    def get(self, prefix: str) -> SandboxRecord:
        """The record of a pod; PodNotFound."""

    def is_ready(self, record: SandboxRecord) -> bool:
        """Whether containers can run in it."""

    def namespaces(self, record: SandboxRecord) -> Mapping[str, str]:
        """Its own namespaces: ``net``, ``ipc``, ``uts``, ``user``, ``pid`` → path."""

    def files(self, record: SandboxRecord) -> Files:
        """What its containers get mounted."""


@frozen(kw_only=True)
class Others:
    """The other parts of the node."""

    handlers: Handlers
    images: Images
    sandboxes: Sandboxes
    publish: Callable[[api.ContainerEventType, str, str], None] = lambda *_: None
    """Tells followers what happened: what, to which container, of which pod."""
    watch: Callable[[ContainerRecord], None] | None = None
    """Has the end of a container noticed from now on; None: it is noticed when somebody asks."""
    ending: Ending = field(factory=Ending)
    """Interrupts those who wait for the end of a container."""
