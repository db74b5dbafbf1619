"""One network: its plugins, one after the other, for each operation (CNI SPEC.md, section 3).

The chain speaks one version: the highest that its configuration names and every plugin knows; where they know only
older ones, the highest of these.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from attrs import frozen

from ociworks._values import evolve
from ociworks.cri.network import _results
from ociworks.cri.network._plugins import Attaching, Plugins
from ociworks.errors import NetworkError, PluginFailed, quote
from ociworks.spec import FrozenDict, JSONValue, cni

__all__ = ["Chain"]

logger = logging.getLogger(__name__)

_UNKNOWN_CONTAINER: Final = 3
"""The error code that says that nothing needs to be cleaned up."""
_GC_BEFORE_THE_ERRATUM: Final = "cni.dev/attachments"
"""What section 2 first called the list of valid attachments; plugins of that time look there."""


@frozen
class Chain:
    """The plugins of a configuration. Operations raise PluginFailed, or NetworkError when a plugin is missing."""

    configuration: cni.NetworkConfigList
    plugins: Plugins

    def version(self) -> str:
        """The version that the chain speaks. NetworkError when its plugins have none in common that is read here."""
        common = set(cni.VERSIONS)
        for one in self._types():
            common &= set(self.plugins.versions(one))
        declared = self._declared()
        bound = max((_age(version) for version in declared), default=-1)
        named = [version for version in common if version in declared]
        usable = named or [version for version in common if _age(version) <= bound]
        if not usable:
            raise NetworkError(
                f"network {self.configuration.name}: its plugins know no common version of CNI up to"
                f" {quote(max(declared, key=_age))}"
            )
        return max(usable, key=_age)

    def add(self, about: Attaching, capabilities: Mapping[str, JSONValue]) -> cni.Result:
        """Attach; the result of the last plugin."""
        version = self.version()
        result: cni.Result | None = None
        for conf in self.configuration.plugins:
            raw = self.plugins.ask("ADD", self._request(conf, version, capabilities, result), about)
            try:
                result = _results.as_version(_results.read(raw), version)
            except NetworkError as error:
                raise PluginFailed(
                    f"network plugin {conf.type}: {error}", plugin=conf.type, command="ADD"
                ) from None
        if result is None:
            raise NetworkError(f"network {self.configuration.name} has no plugins")
        return result

    def check(self, about: Attaching, capabilities: Mapping[str, JSONValue], result: cni.Result) -> None:
        """Whether an attachment still is as ``result`` says: an error when it is not."""
        version = self._version_of(result)
        if self.configuration.disable_check or _age(version) < _age("0.4.0"):
            return
        previous = _results.as_version(result, version)
        for conf in self.configuration.plugins:
            self.plugins.ask("CHECK", self._request(conf, version, capabilities, previous), about)

    def delete(
        self, about: Attaching, capabilities: Mapping[str, JSONValue], result: cni.Result | None
    ) -> None:
        """Detach. Every plugin is asked, the last one first, whatever others say; then the first error is raised."""
        version = self._version_of(result)
        previous = None
        if result is not None and _age(version) >= _age("0.4.0"):
            previous = _results.as_version(result, version)

        def ask(conf: cni.PluginConf) -> None:
            try:
                self.plugins.ask("DEL", self._request(conf, version, capabilities, previous), about)
            except PluginFailed as error:
                if error.code != _UNKNOWN_CONTAINER:
                    raise

        self._each(reversed(self.configuration.plugins), ask)

    def collect(self, valid: Sequence[cni.Attachment]) -> None:
        """GC: every plugin forgets what is not in ``valid``; nothing where the specification did not have that yet."""
        version = self.version()
        if self.configuration.disable_gc or _age(version) < _age("1.1.0"):
            return
        listed = tuple(FrozenDict({"containerID": one.container_id, "ifname": one.ifname}) for one in valid)

        def ask(conf: cni.PluginConf) -> None:
            request = self._request(conf, version, {}, None)
            extra = FrozenDict({**request.extra, _GC_BEFORE_THE_ERRATUM: listed})
            self.plugins.ask("GC", evolve(request, valid_attachments=tuple(valid), extra=extra))

        self._each(self.configuration.plugins, ask)

    def status(self) -> None:
        """STATUS: an error when a plugin cannot serve ADD now; before 1.1.0, that all plugins are there is enough."""
        version = self.version()
        if _age(version) < _age("1.1.0"):
            return
        for conf in self.configuration.plugins:
            self.plugins.ask("STATUS", self._request(conf, version, {}, None))

    def _version_of(self, result: cni.Result | None) -> str:
        """The version in which an attachment was made; without its result, the one that is spoken now.

        A plugin that is missing by now keeps no other from cleaning up.
        """
        if result is not None and _age(result.cni_version or "") >= 0:
            return result.cni_version or ""
        try:
            return self.version()
        except NetworkError as error:
            logger.warning("%s", error)
            return max(
                (version for version in self._declared() if _age(version) >= 0), key=_age, default=cni.VERSION
            )

    def _declared(self) -> tuple[str, ...]:
        return (self.configuration.cni_version, *self.configuration.cni_versions)

    def _request(
        self,
        conf: cni.PluginConf,
        version: str,
        capabilities: Mapping[str, JSONValue],
        previous: cni.Result | None,
    ) -> cni.PluginConf:
        """Section 3, Deriving request configuration."""
        wanted = {
            name: capabilities[name] for name, on in conf.capabilities.items() if on and name in capabilities
        }
        return evolve(
            conf,
            name=self.configuration.name,
            cni_version=version,
            capabilities=FrozenDict(),
            runtime_config=FrozenDict(wanted),
            prev_result=previous,
        )

    def _types(self) -> Sequence[str]:
        """The plugins, and those to which they delegate addresses where that is to be seen."""
        found: dict[str, None] = {}
        for conf in self.configuration.plugins:
            found[conf.type] = None
            if conf.ipam is not None and conf.ipam.type:
                found[conf.ipam.type] = None
        return tuple(found)

    def _each(self, confs: Iterable[cni.PluginConf], ask: Callable[[cni.PluginConf], None]) -> None:
        first: NetworkError | None = None
        for conf in confs:
            try:
                ask(conf)
            except NetworkError as error:
                if first is not None:
                    logger.warning("%s", error)
                first = first or error
        if first is not None:
            raise first


def _age(version: str) -> int:
    """The position among the versions that are read; -1 for others."""
    return cni.VERSIONS.index(version) if version in cni.VERSIONS else -1
