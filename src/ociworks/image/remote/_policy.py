"""Which origins may be asked: one decision for registries, redirects, token endpoints and upload locations.

=============================  ===========================================================================
plain http                     only loopback, or ``host:port`` that the caller or the host's own
                               configuration lists as insecure
https → http                   never, in no hop
addresses that are not public  only the registry's own host and port, or ``host:port`` listed as trusted
names                          any: what they resolve to is the network's business, not the registry's
bodies                         are sent only to the registry's own origin
=============================  ===========================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from attrs import evolve, frozen

from ociworks.errors import RegistryProtocolError, SpecError
from ociworks.image.hosts.endpoint import Endpoint
from ociworks.image.origin import Origin, Url, is_loopback, is_public, split_authority
from ociworks.image.reference import DOCKER_HUB
from ociworks.image.remote._messages import Request, Response

__all__ = ["REDIRECTS", "TargetPolicy", "next_hop"]

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HUB_API: Final = "registry-1.docker.io"


def _authorities(given: Collection[str]) -> frozenset[tuple[str, int]]:
    """``host:port`` each; a host without port would leave open what is allowed."""
    found = set()
    for text in given:
        host, port = split_authority(text)
        if port is None:
            raise SpecError(f"expected host:port, got {text!r}")
        found.add((host, port))
    return frozenset(found)


@frozen
class TargetPolicy:
    """The caller's exceptions, and the rules above."""

    insecure: frozenset[tuple[str, int]]
    trusted: frozenset[tuple[str, int]]
    https: frozenset[tuple[str, int]]
    lenient: frozenset[tuple[str, int]] = frozenset()
    """What the host's configuration calls insecure: a registry there may send us to another one of them."""

    @classmethod
    def of(
        cls,
        insecure: Collection[str],
        trusted: Collection[str],
        https: Collection[str],
        lenient: Collection[str] = (),
    ) -> TargetPolicy:
        """Read the lists of ``host:port``, the caller's and the host's; raises ``SpecError``."""
        # Without a port a registry may be meant on both of its usual ones.
        places = [split_authority(text) for text in lenient]
        both = {(host, port or usual) for host, port in places for usual in (80, 443)}
        return cls(_authorities(insecure), _authorities(trusted), _authorities(https), frozenset(both))

    def registry(self, registry: str) -> Origin:
        """The origin of a registry about which the host's configuration says nothing."""
        return self.origin(Endpoint(registry=registry, repository="x"), lambda _: True)

    def origin(self, endpoint: Endpoint, speaks_tls: Callable[[Origin], bool]) -> Origin:
        """The origin of an endpoint; ``speaks_tls`` is asked only about those that may be spoken to in plain http.

        ==============================================  =================================================
        the caller said ``https`` or ``insecure``       https; plain http
        ``hosts.toml`` has a URL                        its scheme
        ``insecure = true`` in ``registries.conf``      https where TLS is spoken, else plain http
        certificates are configured for it              https
        loopback                                        plain http
        everything else                                 https
        ==============================================  =================================================
        """
        host, port = split_authority(_HUB_API if endpoint.registry == DOCKER_HUB else endpoint.registry)
        if self._plain(host, port, endpoint, speaks_tls):
            return Origin("http", host, port or 80)
        return Origin("https", host, port or 443)

    def _plain(
        self, host: str, port: int | None, endpoint: Endpoint, speaks_tls: Callable[[Origin], bool]
    ) -> bool:
        if (host, port or 443) in self.https:
            return False
        if (host, port or 80) in self.insecure:
            return True
        if endpoint.scheme is not None:
            return endpoint.scheme == "http"
        if endpoint.insecure:
            return not speaks_tls(Origin("https", host, port or 443))
        return is_loopback(host) and not endpoint.tls.configured

    def check(self, target: Url, registry: Origin, what: str) -> None:
        """Raise :class:`~ociworks.errors.RegistryProtocolError` unless this registry may send us there."""
        origin = target.origin
        if origin == registry:
            return
        place = (origin.host, origin.port)
        if origin.scheme == "http" and (registry.scheme == "https" or not self._may_be_plain(place)):
            raise RegistryProtocolError(f"{what}: expected https, got http", url=target.redacted)
        known = self.trusted | self.insecure | self.lenient | {(registry.host, registry.port)}
        if not is_public(origin.host) and place not in known:
            raise RegistryProtocolError(
                f"{what}: expected a public host; if {origin.authority} is meant, list it as trusted",
                url=target.redacted,
            )

    def _may_be_plain(self, place: tuple[str, int]) -> bool:
        if place in self.https:
            return False
        return is_loopback(place[0]) or place in self.insecure | self.lenient


def next_hop(request: Request, response: Response, registry: Origin, policy: TargetPolicy) -> Request:
    """The request that follows a redirect; its authorization stays behind when it leaves the origin.

    Raises :class:`~ociworks.errors.RegistryProtocolError`.
    """
    if request.method not in {"GET", "HEAD"}:
        raise RegistryProtocolError(
            f"a redirected {request.method} is not followed", url=request.url.redacted
        )
    location = response.headers.one("location")
    if not location:
        raise RegistryProtocolError("redirect without Location", url=request.url.redacted)
    try:
        target = request.url.join(location)
    except SpecError as error:
        raise RegistryProtocolError(f"redirect, Location: {error}", url=request.url.redacted) from None
    if request.url.origin.scheme == "https" and target.origin.scheme == "http":
        raise RegistryProtocolError("redirect: expected https, got http", url=target.redacted)
    policy.check(target, registry, "redirect")
    kept = request.authorization if target.origin == request.url.origin else None
    return evolve(request, url=target, authorization=kept)
