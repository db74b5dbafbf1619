"""CriService: both services of the interface, for any gRPC server."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

import attrs
import grpc
import grpc.aio

from ociworks.cri._methods import SERVICES, methods
from ociworks.cri._rpc import Wrapper
from ociworks.cri.config import CriConfig
from ociworks.cri.node import Given, Node
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import PodStateError, ServerEnding

if TYPE_CHECKING:
    from ociworks.image.layout import Layout
    from ociworks.runtime.protocol import OCIRuntime

__all__ = ["CriService"]


class CriService:
    """RuntimeService and ImageService of the Container Runtime Interface.

    ``runtime`` serves the default handler and ``handlers`` further ones, beside those of the configuration; ``store``
    holds the images (a Layout, or the path of one); ``cni`` is the directory of network configurations. What is not
    given comes from ``config``.

    Use it as a context manager, or call :meth:`start` and :meth:`close`. Closing ends no container: the next service
    with the same directories finds every pod again.
    """

    def __init__(
        self,
        config: CriConfig | None = None,
        *,
        runtime: OCIRuntime | None = None,
        handlers: Mapping[str, OCIRuntime] | None = None,
        store: Layout | str | os.PathLike[str] | None = None,
        cni: str | os.PathLike[str] | None = None,
    ) -> None:
        config = config or CriConfig()
        self._config = config if cni is None else attrs.evolve(config, cni_conf_dir=os.fspath(cni))
        self._given = Given(runtime=runtime, handlers=dict(handlers or {}), store=store)
        self._guard = threading.Lock()
        self._wrapper = Wrapper()
        self._node: Node | None = None
        self._closed = False

    @property
    def config(self) -> CriConfig:
        """How it is set up."""
        return self._config

    def add_to_server(self, server: grpc.Server | grpc.aio.Server) -> None:
        """Register both services, before the server is started; starts the service if need be.

        Other services of the server are not disturbed: calls run in threads of their own, and so do streams.
        """
        self.start()
        is_async = isinstance(server, grpc.aio.Server)
        for service in SERVICES:
            name = api.DESCRIPTOR.services_by_name[service].full_name
            handlers = {
                method.name: self._wrapper.handler(method, is_async=is_async)
                for method in methods(service, self._serving)
            }
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))

    def start(self) -> None:
        """Take the directories and bring records and reality together; again is harmless.

        Raises StoreError when another server has them or records are damaged, ConfigError, and PodStateError after
        :meth:`close`.
        """
        with self._guard:
            if self._closed:
                raise PodStateError("this service is closed: make another one")
            if self._node is None:
                self._node = self._started()

    def wind_down(self) -> None:
        """End what would keep a server from ending: followers of events, pulls, and stops of containers that take long.

        A stop is UNAVAILABLE for its client then, and the next service does it when it is asked again. Other calls go
        on. Again is harmless. A server that waits for the calls under way calls it once it takes no new ones.
        """
        if (node := self._node) is not None:
            node.wind_down()

    def close(self) -> None:
        """End every stream and thread, after the calls under way; again is harmless. Pods go on."""
        with self._guard:
            node, self._node, self._closed = self._node, None, True
        if node is not None:
            node.wind_down()
        self._wrapper.close()
        if node is not None:
            node.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serving(self) -> Node:
        node = self._node
        if node is None:
            raise ServerEnding("this service is closed: ask the next one")
        return node

    def _started(self) -> Node:
        node = Node(self._config, self._given)
        try:
            node.start()
        except BaseException:
            node.close()
            raise
        return node
