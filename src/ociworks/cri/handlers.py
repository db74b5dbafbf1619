"""Runtimes by the names that pods ask for (``runtime_handler``): ours, other people's programs, an application's own.

Each has a state root of its own below the server's state directory, except those that an application hands over. One is
made when it is first asked for, so that a program that is missing harms only the pods that want it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from typing import Final

from ociworks.cri.config import CriConfig, Handler
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, OciworksError, quote
from ociworks.runtime import Runtime
from ociworks.runtime.binary import BinaryOptions, RuntimeBinary
from ociworks.runtime.protocol import OCIRuntime
from ociworks.spec.runtime import Features

__all__ = ["Handlers"]

logger = logging.getLogger(__name__)

OURS: Final = "ociworks"


class Handlers:
    """The runtimes of one server. ``given`` ones stand before those that the configuration names."""

    def __init__(self, config: CriConfig, given: Mapping[str, OCIRuntime]) -> None:
        self._config = config
        self._given = given
        self._names = tuple(dict.fromkeys([config.default_handler, OURS, *config.handlers, *given]))
        self._lock = threading.Lock()
        self._made: dict[str, OCIRuntime] = {}
        self._features: dict[str, api.RuntimeHandlerFeatures] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """What pods may ask for, the default one first."""
        return self._names

    def get(self, name: str) -> OCIRuntime:
        """The runtime by that name; empty: the default one.

        InvalidRequest when there is none, MissingDependency when its program is missing.
        """
        name = self._known(name)
        if name in self._given:
            return self._given[name]
        with self._lock:
            if name not in self._made:
                self._made[name] = self._make(name)
            return self._made[name]

    def chosen(self, name: str) -> str:
        """The name itself, or the default one's for none. InvalidRequest when it is unknown."""
        return self._known(name)

    def settings(self, name: str) -> Handler:
        """What the configuration says of it."""
        return self._config.handlers.get(self._known(name)) or Handler()

    def describe(self) -> list[api.RuntimeHandler]:
        """Each with its features; the default one under the empty name too, as the kubelet looks for it."""
        found = [api.RuntimeHandler(name=name, features=self._features_of(name)) for name in self._names]
        default = api.RuntimeHandler(name="", features=self._features_of(self._config.default_handler))
        return [default, *found]

    def close(self) -> None:
        """Let go of those that were made here; detached containers go on."""
        with self._lock:
            made, self._made = tuple(self._made.values()), {}
        for runtime in made:
            runtime.close()

    def _known(self, name: str) -> str:
        chosen = name or self._config.default_handler
        if chosen not in self._names:
            raise InvalidRequest(
                f"runtime_handler: expected one of {', '.join(self._names)}, got {quote(chosen)}"
            )
        return chosen

    def _make(self, name: str) -> OCIRuntime:
        root = os.path.join(self._config.state, "runtime", name)
        os.makedirs(os.path.dirname(root), mode=0o711, exist_ok=True)
        systemd = self._config.cgroup_driver == "systemd"
        program = self.settings(name).program
        if not program:
            return Runtime(root, systemd_cgroup=systemd)
        options = BinaryOptions(flags=("--systemd-cgroup",) if systemd else ())
        return RuntimeBinary(program, root, options=options)

    def _features_of(self, name: str) -> api.RuntimeHandlerFeatures:
        """Asked once; nothing of a runtime that cannot say."""
        if name not in self._features:
            try:
                self._features[name] = _features(self.get(name).features())
            except OciworksError as error:
                logger.warning("runtime handler %s does not tell its features: %s", name, error)
                return api.RuntimeHandlerFeatures()
        return self._features[name]


def _features(found: Features) -> api.RuntimeHandlerFeatures:
    linux = found.linux
    idmap = linux.mount_extensions.idmap if linux and linux.mount_extensions else None
    return api.RuntimeHandlerFeatures(
        recursive_read_only_mounts="rro" in (found.mount_options or ()),
        user_namespaces=bool(
            linux and "user" in (linux.namespaces or ()) and idmap is not None and idmap.enabled
        ),
    )
