"""The network of pods: attach, check, detach, collect, and say whether that can be done (CNI SPEC.md, section 3).

::

    add      record the attachment → plugins in order → record the result        on failure: plugins in reverse, forget
    remove   every recorded attachment: plugins in reverse → forget              again is harmless
    check    plugins in order, with the result as it was
    gc       what is recorded of pods that are gone, then the plugins that know GC; alone
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from attrs import frozen

from ociworks import spec
from ociworks._values import evolve
from ociworks.cri.config import CriConfig
from ociworks.cri.network import _namespace, _results
from ociworks.cri.network._cache import Cache, Entry
from ociworks.cri.network._chain import Chain
from ociworks.cri.network._configurations import Configurations, Found, parse_list
from ociworks.cri.network._files import write_file
from ociworks.cri.network._plugins import Attaching, Plugins
from ociworks.cri.network._ranges import Ranges, filled, parse_ranges, ranges_capability, read_template
from ociworks.cri.network._turns import Turns
from ociworks.cri.network.pod import PodNetwork
from ociworks.errors import NetworkError, SpecError
from ociworks.spec import FrozenDict, JSONValue, cni

__all__ = ["Attached", "Network"]

logger = logging.getLogger(__name__)

_NOT_READY: Final = "NetworkPluginNotReady"
_AT_ONCE: Final = 4
"""Pods that are collected side by side."""
_REMEMBERED: Final = 4096
_GENERATED: Final = "10-ociworks.conflist"


@frozen(kw_only=True)
class Attached:
    """A pod that has a network."""

    result: bytes
    """What the plugins answered: a CNI result as JSON."""
    addresses: tuple[str, ...]
    """The primary one first."""


class Network:
    """The network plugins of one server. Safe for every thread; a pod is left to one at a time by who calls."""

    def __init__(self, config: CriConfig) -> None:
        self._config = config
        self._plugins = Plugins(config.cni_bin_dirs, config.cni_timeout)
        self._configurations = Configurations(config.cni_conf_dir)
        self._cache = Cache(config.cni_cache_dir)
        self._ranges = Ranges(config.cni_cache_dir)
        self._turns = Turns()
        self._removed = _Removed()

    def status(self) -> tuple[bool, str, str]:
        """Whether pods can have a network; if not, a reason in one word and a sentence that says where to look."""
        try:
            self._chain(self._configurations.current().configuration).status()
        except NetworkError as error:
            return False, _NOT_READY, str(error)
        return True, "", ""

    def add(self, pod: PodNetwork) -> Attached:
        """Give a pod its network: loopback, and what the configured plugins do.

        NetworkError when there is no network, the namespace is none or this process's own, or a plugin failed; what
        was done is undone then, and what could not be undone is left to ``remove`` and ``gc``.
        """
        found = self._configurations.current()
        self._removed.forget(pod.id)
        with _namespace.opened(pod.netns) as netns, self._turns.shared():
            if _namespace.is_own(netns):
                raise NetworkError(f"{pod.netns}: this is the network namespace of the host")
            _namespace.bring_loopback_up(netns)
            entry = self._entry(pod, found, _namespace.identity(netns))
            self._cache.put(entry)
            try:
                result = self._chain(found.configuration).add(
                    _attaching(entry, pod.netns), entry.capability_args
                )
                addresses = _results.addresses(result, pod.ifname)
                self._cache.put(evolve(entry, result=result))
            except BaseException:
                self._undo(entry)
                raise
        return Attached(result=spec.to_json(result), addresses=addresses)

    def check(self, pod: PodNetwork) -> None:
        """Whether a pod's network still is as it was made. NetworkError when it is not, or was not made here."""
        entries = [entry for entry in self._cache.of(pod.id) if entry.result is not None]
        if not entries:
            raise NetworkError(f"pod {pod.id} has no network that was made here")
        with self._turns.shared():
            for entry in entries:
                chain, result = self._chain(_list_of(entry)), entry.result or cni.Result()
                chain.check(_attaching(entry, entry.netns or ""), entry.capability_args, result)

    def remove(self, pod: PodNetwork) -> None:
        """Take a pod's network down; again is harmless. NetworkError when a plugin failed: then try again."""
        entries = self._cache.of(pod.id)
        if not entries and pod.id not in self._removed:
            entries = self._unrecorded(pod)
        with self._turns.shared():
            for entry in entries:
                self._detach(entry)
        self._removed.add(pod.id)

    def gc(self, live: Iterable[str]) -> None:
        """Free what pods that are not among the IDs ``live`` still have. NetworkError, at the end, for what failed.

        ``live`` is read when no pod is being attached, so a generator that asks the records then misses none.
        """
        failures: list[NetworkError] = []
        with self._turns.alone():
            keep = frozenset(live)
            entries = self._cache.all()
            dead = [entry for entry in entries if entry.container_id not in keep]
            with ThreadPoolExecutor(_AT_ONCE, "ociworks-cni-gc") as workers:
                failures += filter(None, workers.map(self._collect, dead))
            valid = [
                cni.Attachment(container_id=entry.container_id, ifname=entry.if_name)
                for entry in entries
                if entry.container_id in keep
            ]
            self._collect_in_plugins(valid, failures)
        if failures:
            raise failures[0]

    def set_pod_cidr(self, text: str) -> None:
        """The node's ranges of addresses, comma-separated. InvalidRequest for text that is none.

        They reach plugins that declare the capability ``ipRanges``; with ``cni_conf_template``, they become a
        configuration file as long as nobody else made one.
        """
        ranges = parse_ranges(text)
        self._ranges.set(ranges)
        template = self._config.cni_conf_template
        if template and self._configurations.first() in ("", _GENERATED):
            try:
                made = filled(read_template(template), ranges)
            except SpecError as error:
                raise NetworkError(f"{template}: {error}") from None
            write_file(self._config.cni_conf_dir, _GENERATED, made, 0o644)

    def _chain(self, configuration: cni.NetworkConfigList) -> Chain:
        return Chain(configuration, self._plugins)

    def _entry(self, pod: PodNetwork, found: Found, namespace: str) -> Entry:
        return Entry(
            container_id=pod.id,
            config=found.raw,
            if_name=pod.ifname,
            network_name=found.configuration.name,
            netns=pod.netns,
            namespace_identity=namespace or None,
            cni_args=pod.arguments(),
            capability_args=FrozenDict(self._capabilities(pod)),
        )

    def _capabilities(self, pod: PodNetwork) -> Mapping[str, JSONValue]:
        ranges = self._ranges()
        given: dict[str, JSONValue] = {"ipRanges": ranges_capability(ranges)} if ranges else {}
        return given | pod.capability_arguments()

    def _undo(self, entry: Entry) -> None:
        """After a failed ADD. What fails here too stays recorded, for ``remove`` and ``gc``."""
        try:
            self._detach(entry)
        except NetworkError as error:
            logger.warning("the network of pod %s is not undone: %s", entry.container_id, error)

    def _detach(self, entry: Entry) -> None:
        netns = entry.netns if _is_still_there(entry) else ""
        self._chain(_list_of(entry)).delete(
            _attaching(entry, netns or ""), entry.capability_args, entry.result
        )
        self._cache.drop(entry)

    def _unrecorded(self, pod: PodNetwork) -> list[Entry]:
        """What plugins may know of a pod of which nothing is recorded here: as they would attach it now."""
        try:
            return [self._entry(pod, self._configurations.current(), "")]
        except NetworkError:
            return []

    def _collect(self, entry: Entry) -> NetworkError | None:
        try:
            self._detach(entry)
        except NetworkError as error:
            logger.warning("the network of pod %s is not freed: %s", entry.container_id, error)
            return error
        return None

    def _collect_in_plugins(self, valid: list[cni.Attachment], failures: list[NetworkError]) -> None:
        try:
            found = self._configurations.current()
        except NetworkError:
            return
        try:
            self._chain(found.configuration).collect(valid)
        except NetworkError as error:
            failures.append(error)


class _Removed:
    """The last pods that have nothing left, so that plugins need not be asked each time that somebody makes sure."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids: dict[str, None] = {}

    def __contains__(self, id: str) -> bool:
        return id in self._ids

    def add(self, id: str) -> None:
        with self._lock:
            self._ids[id] = None
            while len(self._ids) > _REMEMBERED:
                del self._ids[next(iter(self._ids))]

    def forget(self, id: str) -> None:
        with self._lock:
            self._ids.pop(id, None)


def _attaching(entry: Entry, netns: str) -> Attaching:
    args = tuple((pair[0], pair[1]) for pair in entry.cni_args if len(pair) == 2)
    return Attaching(id=entry.container_id, netns=netns, ifname=entry.if_name, args=args)


def _list_of(entry: Entry) -> cni.NetworkConfigList:
    """The configuration with which an attachment was made, whatever is configured now."""
    try:
        return parse_list(entry.config)
    except SpecError as error:
        raise NetworkError(f"the attachment of pod {entry.container_id}: {error}") from None


def _is_still_there(entry: Entry) -> bool:
    """Whether the path of its namespace leads to it, and not to nothing, another one or the host's."""
    try:
        with _namespace.opened(entry.netns or "") as netns:
            known = entry.namespace_identity
            return not _namespace.is_own(netns) and known in (None, _namespace.identity(netns))
    except NetworkError:
        return False
