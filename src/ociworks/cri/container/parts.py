"""What containers need of the other parts of a node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from attrs import frozen

from ociworks.cri.config import Handler
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import ContainerRecord, SandboxRecord
from ociworks.image.store import Snapshot
from ociworks.runtime.detach import Detach, Exit
from ociworks.runtime.overlay import RootfsOverlay
from ociworks.runtime.protocol import OCIContainer
from ociworks.spec import Bundle
from ociworks.spec.image import ImageConfiguration
from ociworks.spec.runtime import Features, IDMapping

__all__ = [
    "ContainerRoot",
    "Files",
    "Handlers",
    "HeldContainer",
    "Images",
    "LocalImage",
    "Others",
    "Runtime",
    "Sandboxes",
    "Users",
]


class HeldContainer(OCIContainer, Protocol):
    """A container that a shim holds."""

    @property
    def exit(self) -> Exit | None:
        """How it ended; None while it has not, or when its shim was killed."""

    def reopen_log(self) -> None:
        """Have its log file opened again by its name."""


class Runtime(Protocol):
    """A runtime whose containers outlive this server."""

    def create(self, container_id: str, bundle: Bundle, *, detach: Detach) -> HeldContainer:
        """Make a container, ready to be started."""

    def get(self, container_id: str) -> HeldContainer:
        """A container by its ID; ContainerNotFound."""

    def features(self) -> Features:
        """What it can do."""


class Handlers(Protocol):
    """Runtimes by name."""

    def get(self, name: str) -> Runtime:
        """The runtime of this name, empty for the default one. InvalidRequest when there is none."""

    def settings(self, name: str) -> Handler:
        """What the configuration says of it."""


class Users(Protocol):
    """A pod's user namespace."""

    @property
    def path(self) -> str:
        """Where it is pinned."""

    @property
    def uids(self) -> tuple[IDMapping, ...]:
        """What it maps."""

    @property
    def gids(self) -> tuple[IDMapping, ...]:
        """What it maps of groups."""


class LocalImage(Protocol):
    """An image that is here."""

    @property
    def id(self) -> str:
        """The digest of its configuration."""

    @property
    def repo_tags(self) -> tuple[str, ...]:
        """Its names by tag."""

    @property
    def repo_digests(self) -> tuple[str, ...]:
        """Its names by digest."""

    @property
    def configuration(self) -> ImageConfiguration:
        """Its configuration."""


class ContainerRoot(Protocol):
    """A root filesystem to be used."""

    @property
    def path(self) -> str:
        """What ``root.path`` has to be; the image's databases of users can be read there."""

    @property
    def overlay(self) -> RootfsOverlay | None:
        """What the container mounts there itself."""

    @property
    def snapshot(self) -> Snapshot:
        """The image's layers, to read its files."""


class Images(Protocol):
    """The images of the node."""

    def get(self, name: str) -> LocalImage:
        """The image of this name or ID; ImageNotFound."""

    def root(
        self, container_id: str, local: LocalImage, *, users: Users | None, mounted: bool
    ) -> ContainerRoot:
        """The root filesystem for a container, until it is released."""

    def mount_of(self, container_id: str, image: str, subpath: str, *, users: Users | None) -> str:
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
