"""One machine's pods: every part, made from one configuration and handed to the others that need it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Self

import attrs

from ociworks.cri._ending import Ending
from ociworks.cri._podnetworks import PodNetworks
from ociworks.cri.checkpoints import Checkpoints
from ociworks.cri.config import CriConfig
from ociworks.cri.container import Containers
from ociworks.cri.container import Others as ContainerOthers
from ociworks.cri.events import Events
from ociworks.cri.handlers import Handlers
from ociworks.cri.images import Images
from ociworks.cri.locks import KeyedLocks
from ociworks.cri.monitor import Monitor
from ociworks.cri.network import Network
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import ContainerRecord
from ociworks.cri.recovery import Report, recover
from ociworks.cri.sandbox.sandboxes import Others as SandboxOthers
from ociworks.cri.sandbox.sandboxes import Sandboxes
from ociworks.cri.stats import Stats
from ociworks.cri.store import Store
from ociworks.cri.streaming.service import Streaming
from ociworks.errors import OciworksError, StoreError
from ociworks.image.layout import Layout
from ociworks.runtime.protocol import OCIRuntime

__all__ = ["Given", "Node"]


@attrs.frozen(kw_only=True)
class Given:
    """What an application has already and hands over, beside the configuration. It stays the application's own."""

    runtime: OCIRuntime | None = None
    """The runtime of the default handler."""
    handlers: Mapping[str, OCIRuntime] = attrs.field(factory=dict)
    """Further runtimes, by handler name."""
    store: Layout | str | os.PathLike[str] | None = None
    """Where images are kept; None: below the configuration's root."""

    def runtimes(self, default: str) -> Mapping[str, OCIRuntime]:
        """All of them by handler name."""
        return {**({} if self.runtime is None else {default: self.runtime}), **self.handlers}


class Node:
    """The parts of one server. Making it takes the state directory (one server at a time) and starts nothing else.

    Raises StoreError when another server has the state directory or the records cannot be read.
    """

    images: Images
    network: Network
    handlers: Handlers
    sandboxes: Sandboxes
    containers: Containers
    monitor: Monitor
    recovered: Report
    """What :meth:`start` found."""
    streaming: Streaming
    stats: Stats
    checkpoints: Checkpoints

    def __init__(self, config: CriConfig, given: Given | None = None) -> None:
        self.config = config
        self.given = given or Given()
        self._closing = ExitStack()
        with self._closing_on_failure():
            self._closing.enter_context(_directories(config))
            self.store = self._closing.enter_context(Store(os.path.join(config.root, "cri.db")))
            self.locks = KeyedLocks()
            self._ending = Ending()
            self.recovered = Report()
            self.events = Events(self._describe)
            self._closing.callback(self.events.close)
            self._make_parts()

    def start(self) -> None:
        """Bring what is recorded and what is there together, then listen for streams and the ends of containers."""
        self.recovered = recover(self)
        self.streaming.start()

    def wind_down(self) -> None:
        """Let those go who wait for what may be long in coming: followers of events, pulls, and stops of containers.

        Again is harmless.
        """
        self._ending.begin()
        self.events.close()
        self.images.stop_pulls()

    def close(self) -> None:
        """End every thread and let go of everything; pods and their containers go on. Again is harmless."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def conditions(self) -> list[api.RuntimeCondition]:
        """RuntimeReady and NetworkReady, as they are now."""
        ready, reason, message = self._network_status()
        return [
            self._runtime_condition(),
            api.RuntimeCondition(type="NetworkReady", status=ready, reason=reason, message=message),
        ]

    def information(self) -> dict[str, str]:
        """What a verbose Status adds, as JSON."""
        return {
            "config": json.dumps(attrs.asdict(self.config, value_serializer=_plain)),
            "images": json.dumps({"damaged": self.images.trouble()}),
            "recovery": json.dumps(attrs.asdict(self.recovered)),
        }

    def _make_parts(self) -> None:
        self.handlers = Handlers(self.config, self.given.runtimes(self.config.default_handler))
        self._closing.callback(self.handlers.close)
        self.network = Network(self.config)
        self.images = Images(self.config, self.given.store)
        self._closing.callback(self.images.close)
        self.sandboxes = Sandboxes(self.config, self.store, self.locks, self._for_sandboxes())
        self.containers = Containers(self.config, self.store, self.locks, self._for_containers())
        self.monitor = Monitor(self.handlers, self.containers.settle)
        self._closing.callback(self.monitor.close)
        self.stats = Stats(self.config, self.store, self.handlers, self.images)
        self.streaming = Streaming(self.config, self.store, self.containers)
        self._closing.callback(self.streaming.close)
        self.checkpoints = Checkpoints(self.config, self.store, self.locks, self.containers, self.sandboxes)

    def _for_sandboxes(self) -> SandboxOthers:
        return SandboxOthers(
            network=PodNetworks(self.network),
            handlers=self.handlers,
            containers=lambda: self.containers,
            publish=self.events.publish,
            followed=lambda: len(self.events) > 0,
        )

    def _for_containers(self) -> ContainerOthers:
        return ContainerOthers(
            handlers=self.handlers,
            images=self.images,
            sandboxes=self.sandboxes,
            publish=self.events.publish,
            watch=self._watch,
            ending=self._ending,
        )

    def _watch(self, record: ContainerRecord) -> None:
        self.monitor.watch(record)

    def _runtime_condition(self) -> api.RuntimeCondition:
        """Pods can be run when the default handler is there."""
        try:
            self.handlers.get("")
        except OciworksError as error:
            return api.RuntimeCondition(type="RuntimeReady", reason="NoRuntime", message=str(error))
        return api.RuntimeCondition(type="RuntimeReady", status=True)

    def _network_status(self) -> tuple[bool, str, str]:
        try:
            return self.network.status()
        except OciworksError as error:
            return False, "NetworkPluginNotReady", str(error)

    def _describe(self, sandbox_id: str) -> tuple[api.PodSandboxStatus | None, list[api.ContainerStatus]]:
        """What an event says of a pod; nothing of one that is gone."""
        try:
            found = self.sandboxes.status(sandbox_id)
        except OciworksError:
            return None, []
        return found.status, list(found.containers_statuses)

    @contextmanager
    def _closing_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._closing.close()
            raise


@contextmanager
def _directories(config: CriConfig) -> Iterator[None]:
    """Make root and state, and hold the state directory's lock. StoreError when another server holds it."""
    for place in (config.root, config.state):
        os.makedirs(place, mode=0o711, exist_ok=True)
    file = os.path.join(config.state, "cri.lock")
    lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
            return
    finally:
        os.close(lock)
    raise StoreError(f"{config.state}: another server uses this directory")


def _plain(_: type, __: object, value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else value
