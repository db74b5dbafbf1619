"""From a reference to the places that may have it: host configuration and policy, and falling back.

::

    read ──> mirror 1 ──failed──> mirror 2 ──failed──> the registry itself ──failed──> its error, with notes
                │                    │                     │                            on the mirrors
                └── answered: its blobs come from it, and from those after it when it fails later

A mirror's failure is never the end, whatever it was: what it says is verified by digest, and what it does not say
another may. A tag is resolved only by those that may do so. Credentials are the mirror's own, by its registry and
repository, and so is the scope of a token.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar, final

from attrs import asdict, evolve

from ociworks.errors import ContentError, LimitExceeded, RegistryError, RegistryUnreachable, SpecError
from ociworks.image.remote._messages import Site
from ociworks.image.remote._session import Repository, WholeRegistry

if TYPE_CHECKING:
    from ociworks.image.hosts import Endpoint, HostsConfig
    from ociworks.image.origin import Origin
    from ociworks.image.reference import Reference
    from ociworks.image.remote._policy import TargetPolicy
    from ociworks.image.types import BlobSource, ByteStream
    from ociworks.spec.image import Descriptor

__all__ = ["Places"]

_logger = logging.getLogger(__name__)

_FAILURES = (RegistryError, ContentError, SpecError, LimitExceeded)
"""What another place may do better. Blocked registries, broken files and helpers are not among them."""

T = TypeVar("T")


@final
class Places:
    """The places of one client; safe for several threads.

    ``blobs`` makes the source of one repository's blobs; ``speaks_tls`` connects to an origin and says whether TLS is
    spoken there.
    """

    def __init__(
        self,
        hosts: HostsConfig,
        policy: TargetPolicy,
        blobs: Callable[[Repository], BlobSource],
        speaks_tls: Callable[[Origin, float | None], bool],
    ) -> None:
        self._hosts = hosts
        self._policy = policy
        self._blobs = blobs
        self._speaks_tls = speaks_tls
        self._probed: dict[Origin, bool] = {}
        self._lock = threading.Lock()

    def repository(self, reference: Reference) -> Repository:
        """The repository itself: for everything but reading images."""
        return self.at(self._hosts.push_endpoint(reference))

    def registry(self, reference: Reference) -> WholeRegistry:
        """The registry of a reference, for requests about itself."""
        return WholeRegistry(**asdict(self.repository(reference), recurse=False))

    def read(self, reference: Reference, attempt: Callable[[Repository, BlobSource], T]) -> T:
        """What the first place gives that can; the last one's error, with a note for each other, if none can."""
        endpoints = self._hosts.pull_endpoints(reference)
        able = [each for each in endpoints if each.resolves or reference.digest is not None]
        failed: list[tuple[Endpoint, Exception]] = []
        for endpoint in able:
            rest = [each for each in endpoints if each not in {place for place, _ in failed}]
            try:
                repository = self.at(endpoint, patient=endpoint is able[-1])
                return attempt(repository, self.blobs(repository, rest))
            except _FAILURES as error:
                _keep(endpoint, error, failed, last=endpoint is able[-1])
        raise RegistryUnreachable(
            f"{reference}: this host's hosts.toml names no place that may resolve a tag"
        )

    def at(self, endpoint: Endpoint, *, patient: bool = True) -> Repository:
        """The repository at an endpoint; ``patient``: nobody else would be asked."""
        origin = self._policy.origin(endpoint, lambda place: self._probe(place, endpoint.connect_timeout))
        site = Site(
            origin=origin,
            tls=evolve(endpoint.tls, verify=False) if endpoint.insecure else endpoint.tls,
            headers=endpoint.headers,
            connect_timeout=endpoint.connect_timeout,
        )
        return Repository(
            registry=endpoint.registry,
            name=endpoint.repository,
            origin=origin,
            root=endpoint.root,
            namespace=endpoint.namespace,
            site=site,
            patient=patient,
        )

    def blobs(self, repository: Repository, endpoints: Sequence[Endpoint]) -> BlobSource:
        """The blobs of ``repository`` when it is the only place, else of all ``endpoints`` in turn."""
        return self._blobs(repository) if len(endpoints) == 1 else _FallingBack(self, self._blobs, endpoints)

    def _probe(self, origin: Origin, timeout: float | None) -> bool:
        with self._lock:
            known = self._probed.get(origin)
        if known is not None:
            return known
        found = self._speaks_tls(origin, timeout)
        with self._lock:
            return self._probed.setdefault(origin, found)


@final
class _FallingBack:
    """The blobs of several places, each asked when those before it cannot open the blob."""

    def __init__(
        self, places: Places, blobs: Callable[[Repository], BlobSource], endpoints: Sequence[Endpoint]
    ) -> None:
        self._places = places
        self._blobs = blobs
        self._endpoints = endpoints

    def open_blob(self, descriptor: Descriptor, /) -> ByteStream:
        failed: list[tuple[Endpoint, Exception]] = []
        for endpoint in self._endpoints:
            try:
                return self._blobs(self._places.at(endpoint)).open_blob(descriptor)
            except _FAILURES as error:
                _keep(endpoint, error, failed, last=endpoint is self._endpoints[-1])
        raise RegistryUnreachable(f"{descriptor.digest}: there is no place to ask")


def _keep(
    endpoint: Endpoint, error: Exception, failed: list[tuple[Endpoint, Exception]], *, last: bool
) -> None:
    """Remember a failure, or raise it when nobody else is left to ask."""
    if not last:
        _logger.info("%s/%s: %s", endpoint.registry, endpoint.repository, error)
        failed.append((endpoint, error))
        return
    for other, reason in failed:
        error.add_note(f"mirror {other.registry}/{other.repository}: {reason}")
    raise error
