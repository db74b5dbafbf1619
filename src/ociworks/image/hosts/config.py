"""One value for everything that a host says about registries, and the questions that a client asks of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, Self

from attrs import evolve, field, frozen

from ociworks.errors import RegistryBlocked
from ociworks.image.hosts import _registries_files, hosts_toml
from ociworks.image.hosts.certificates import certificates_of
from ociworks.image.hosts.endpoint import Endpoint, Tls
from ociworks.image.hosts.proxies import NO_PROXIES, Proxies
from ociworks.image.hosts.registries import Place, RegistriesConf, Rule
from ociworks.image.origin import Url
from ociworks.image.reference import Reference
from ociworks.spec.frozen import FrozenDict

__all__ = ["NO_HOSTS", "HostsConfig"]


@frozen(kw_only=True)
class HostsConfig:
    """How this host reaches registries. Without arguments: directly, verified, as references say.

    ==================  =============================================================================
    ``registries``      ``registries.conf``: mirrors, other locations, insecure, blocked, short names
    ``tls``             certificates for single registries, by ``host[:port]``
    ``certs``           directories in the form of ``certs.d``, for the others
    ``containerd``      directories with ``hosts.toml``, asked where no rule of ``registries`` matches
    ``proxies``         proxies
    ``mirrors``         by ``host[:port]``, base URLs that are asked first, whatever the files say
    ==================  =============================================================================

    The directories are read when a registry in them is first asked for, so that what is wrong about one registry
    does not stop the others. Every question may raise :class:`~ociworks.errors.HostsConfigError`.
    """

    registries: RegistriesConf = field(factory=RegistriesConf)
    tls: Mapping[str, Tls] = FrozenDict()
    certs: tuple[str, ...] = ()
    containerd: tuple[str, ...] = ()
    proxies: Proxies = NO_PROXIES
    mirrors: Mapping[str, tuple[Url, ...]] = FrozenDict()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """What this user's other tools would use: files at their usual places, proxies of the environment.

        ``environ`` is ``os.environ`` unless given; it has a say in the places of files (``HOME``,
        ``CONTAINERS_REGISTRIES_CONF``, ``XDG_CACHE_HOME``) and in proxies, never in which certificates are trusted.
        """
        chosen = os.environ if environ is None else environ
        home = chosen.get("HOME") or os.path.expanduser("~")
        root = getattr(os, "geteuid", lambda: 1)() == 0
        own = os.path.join(home, ".config")
        return cls(
            registries=_registries_files.find(chosen, home, root=root),
            certs=(os.path.join(own, "containers/certs.d"), "/etc/containers/certs.d", "/etc/docker/certs.d"),
            containerd=(os.path.join(own, "containerd/certs.d"), "/etc/containerd/certs.d"),
            proxies=Proxies.from_environment(chosen),
        )

    def pull_endpoints(self, reference: Reference) -> tuple[Endpoint, ...]:
        """Where to read a reference, in the order in which to try: mirrors, then the registry itself.

        Raises :class:`~ociworks.errors.RegistryBlocked`.
        """
        rule = self._rule(reference)
        first = [hosts_toml.mirror(url) for url in self.mirrors.get(reference.registry, ())]
        if rule is not None:
            others = self._by_rule(rule, reference)
        elif found := hosts_toml.find(self.containerd, reference.registry):
            others = tuple(self._with_certs(host.endpoint(reference)) for host in found.able("pull"))
        else:
            others = (self._itself(reference),)
        return (*(self._with_certs(host.endpoint(reference)) for host in first), *others)

    def push_endpoint(self, reference: Reference) -> Endpoint:
        """Where to write, list and delete: the registry itself, never a mirror or another location.

        Raises :class:`~ociworks.errors.RegistryBlocked`.
        """
        rule = self._rule(reference)
        if rule is not None:
            return self._itself(reference, insecure=rule.insecure)
        found = hosts_toml.find(self.containerd, reference.registry)
        server = found.hosts[-1] if found else None
        if server is None or "push" not in server.capabilities:
            return self._itself(reference)
        return self._with_certs(server.endpoint(reference))

    def resolve_short_name(self, name: str) -> tuple[Reference, ...]:
        """What a name may stand for, in the order in which to try.

        A name with a registry stands for itself. An alias decides; otherwise each registry that is searched gives a
        candidate. Several are an error in the mode ``enforcing``; in the others try them in order. Without any
        ``registries.conf`` Docker Hub is the one candidate. Raises :class:`~ociworks.errors.ShortNameError`, and
        :class:`~ociworks.errors.InvalidReference` for what is no name.
        """
        return self.registries.resolve(name)

    def tls_of(self, registry: str) -> Tls:
        """How to speak TLS with ``host[:port]``, as far as ``tls`` and ``certs`` say."""
        return self.tls.get(registry) or certificates_of(self.certs, registry)

    def insecure_registries(self) -> frozenset[str]:
        """Every ``host[:port]`` that a rule calls insecure; wildcards are not among them."""
        places = [(rule.location or rule.prefix, rule.insecure) for rule in self.registries.rules]
        places += [
            (mirror.location, mirror.insecure) for rule in self.registries.rules for mirror in rule.mirrors
        ]
        return frozenset(
            place.registry for place, insecure in places if insecure and isinstance(place, Place)
        )

    def _rule(self, reference: Reference) -> Rule | None:
        if blocking := self._blocking(reference):
            raise RegistryBlocked(str(reference), str(blocking.prefix))
        return self.registries.rule_for(reference)

    def _blocking(self, reference: Reference) -> Rule | None:
        """The rule that forbids a place, be it named by the user or by another rule."""
        rule = self.registries.rule_for(reference)
        return rule if rule is not None and rule.blocked else None

    def _by_rule(self, rule: Rule, reference: Reference) -> tuple[Endpoint, ...]:
        rest = rule.match(reference) or ""
        moved = [
            (_moved(each.location, rest), each.insecure) for each in rule.mirrors if each.serves(reference)
        ]
        mirrors = [
            self._itself(place, insecure=insecure) for place, insecure in moved if not self._blocking(place)
        ]
        last = reference if rule.location is None else _moved(rule.location, rest)
        if blocking := self._blocking(last):
            raise RegistryBlocked(str(last), str(blocking.prefix))
        return (*mirrors, self._itself(last, insecure=rule.insecure))

    def _itself(self, reference: Reference, *, insecure: bool = False) -> Endpoint:
        return Endpoint(
            registry=reference.registry,
            repository=reference.repository,
            insecure=insecure,
            tls=self.tls_of(reference.registry),
        )

    def _with_certs(self, endpoint: Endpoint) -> Endpoint:
        """What ``hosts.toml`` leaves open about certificates, ``certs.d`` may say."""
        if endpoint.tls.configured:
            return endpoint
        return evolve(endpoint, tls=self.tls_of(endpoint.registry))


def _moved(place: Place, rest: str) -> Reference:
    return Reference(registry=place.registry, repository=place.below(rest))


NO_HOSTS: Final = HostsConfig()
"""No configuration at all."""
