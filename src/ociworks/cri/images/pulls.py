"""Bringing images here.

::

    asked ──same image and login under way?──> wait for it
      └─> resolve ─> policy ─> blobs (leased) ─> layers unpacked ─> names: by digest and tag
                                      killed here, a restart collects it ┘

An image gets its names when it can be used. A tag that meant another image moves; that one keeps its digests.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import ExitStack
from typing import Final, NamedTuple

from attrs import evolve

from ociworks.cri.config import CriConfig
from ociworks.cri.images.credentials import keychain_of
from ociworks.cri.images.local import reference_of
from ociworks.cri.images.registries import hosts_of
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import (
    DeadlinePassed,
    OciworksError,
    RegistryResponseError,
    RegistryUnavailable,
    RegistryUnreachable,
    ServerEnding,
    SignatureValidationFailed,
    VerificationFailed,
)
from ociworks.image import remote
from ociworks.image.auth import Keychain
from ociworks.image.layout import Layout, name_of
from ociworks.image.progress import Progress
from ociworks.image.reference import Reference
from ociworks.image.remote import Client
from ociworks.image.remote.limits import DEFAULT_LIMITS
from ociworks.image.store import Snapshots
from ociworks.image.types import Image, ImageIndex

__all__ = ["Pulls"]

_LOOK: Final = 0.25
"""Seconds between two looks at a transfer's progress."""


class _Key(NamedTuple):
    """What makes two pulls one: the image and the login, which is not kept."""

    name: str
    login: bytes


class _Flight:
    """A pull under way, and when it last went on."""

    def __init__(self) -> None:
        self.done: Future[str] = Future()
        self._lock = threading.Lock()
        self._moved = time.monotonic()
        self._stopped: OciworksError | None = None
        self._stop = threading.Event()
        self._transferring = True
        self._abort: Callable[[], None] = lambda: None

    def heard(self, _: Progress) -> None:
        """It went on; raises what it was stopped with."""
        self._moved = time.monotonic()
        self.check()

    def check(self) -> None:
        """Raise what it was stopped with."""
        if self._stopped is not None:
            raise self._stopped

    def travels_by(self, abort: Callable[[], None]) -> None:
        """Ends what it waits for, when it is stopped; raises what it was stopped with."""
        self._abort = abort
        self.check()

    def pause(self, seconds: float) -> None:
        """Wait between two attempts; raises what it was stopped with."""
        self._stop.wait(seconds)
        self.check()

    def landed(self) -> None:
        """Nothing travels any more: the rest takes as long as it takes."""
        self.check()
        self._transferring = False

    def stuck(self, seconds: int) -> bool:
        """Whether nothing came for so long."""
        return self._transferring and time.monotonic() - self._moved > seconds

    def stop(self, error: OciworksError) -> None:
        """Let it end at its next step, and those who wait hear of it now."""
        self._stopped = error
        self._stop.set()
        self.settle(error)
        self._abort()

    def settle(self, outcome: str | BaseException) -> None:
        """Tell those who wait, unless they were told."""
        with self._lock:
            if self.done.done():
                return
            if isinstance(outcome, str):
                self.done.set_result(outcome)
            else:
                self.done.set_exception(outcome)


class Pulls:
    """Pulls of one node; safe for several threads."""

    def __init__(self, config: CriConfig, layout: Layout, snapshots: Snapshots) -> None:
        self._config = config
        self._layout = layout
        self._snapshots = snapshots
        self._lock = threading.Lock()
        self._flights: dict[_Key, _Flight] = {}
        self._threads: set[threading.Thread] = set()
        self._closed = False

    def pull(self, text: str, auth: api.AuthConfig) -> str:
        """Bring an image here, or wait for the pull of it that is under way; its ID.

        Raises :class:`~ociworks.errors.InvalidReference`, :class:`~ociworks.errors.InvalidRequest` for credentials that
        are none, :class:`~ociworks.errors.DeadlinePassed`, :class:`~ociworks.errors.RegistryUnavailable`,
        :class:`~ociworks.errors.SignatureValidationFailed`, and what reading registries and unpacking raise.
        """
        reference = reference_of(text)
        keychain = keychain_of(auth, reference, self._config.registry_auth_file)
        login = hashlib.sha256(auth.SerializeToString(deterministic=True)).digest()
        key = _Key(str(reference), login)
        flight = self._join(key, lambda flight: self._bring(reference, keychain, flight))
        return self._wait(key, flight)

    def stop(self) -> None:
        """End the pulls under way, without waiting for them: who asked hears of it now. Again is harmless."""
        with self._lock:
            self._closed = True
            flights = list(self._flights.values())
        for flight in flights:
            flight.stop(ServerEnding("the server ends: ask the next one"))

    def close(self) -> None:
        """End the pulls under way, and wait for them."""
        self.stop()
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join()

    def _join(self, key: _Key, work: Callable[[_Flight], str]) -> _Flight:
        with self._lock:
            if self._closed:
                raise ServerEnding("the server ends: ask the next one")
            flight = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = _Flight()
                name = "ociworks-pull"
                thread = threading.Thread(target=self._fly, args=(key, flight, work), name=name, daemon=True)
                self._threads.add(thread)
                thread.start()
            return flight

    def _fly(self, key: _Key, flight: _Flight, work: Callable[[_Flight], str]) -> None:
        outcome: str | BaseException
        try:
            outcome = work(flight)
        except BaseException as error:  # noqa: BLE001 - those who wait raise it
            outcome = error
        self._forget(key, flight)
        flight.settle(outcome)
        with self._lock:
            self._threads.discard(threading.current_thread())

    def _forget(self, key: _Key, flight: _Flight) -> None:
        """Whoever asks from now on asks anew."""
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]

    def _wait(self, key: _Key, flight: _Flight) -> str:
        seconds = self._config.image_pull_timeout
        while seconds and not wait([flight.done], timeout=_LOOK).done:
            if flight.stuck(seconds):
                self._forget(key, flight)
                flight.stop(DeadlinePassed(f"{key.name}: nothing came for {seconds} seconds"))
        return flight.done.result()

    def _bring(self, reference: Reference, keychain: Keychain, flight: _Flight) -> str:
        try:
            with ExitStack() as stack:
                registry = stack.enter_context(self._client(keychain, flight))
                flight.travels_by(registry.abort)
                return self._from(registry, reference, stack, flight)
        except VerificationFailed as error:
            raise SignatureValidationFailed(f"SignatureValidationFailed: {error}") from error
        except RegistryUnreachable as error:
            raise RegistryUnavailable(f"RegistryUnavailable: {_with_notes(error)}") from error
        except RegistryResponseError as error:
            if error.status < 500:
                raise
            raise RegistryUnavailable(f"RegistryUnavailable: {_with_notes(error)}") from error

    def _from(self, registry: Client, reference: Reference, stack: ExitStack, flight: _Flight) -> str:
        found = registry.get(reference)
        image = found.image() if isinstance(found, ImageIndex) else found
        chain = (
            image.config.rootfs.chain_ids()
        )  # what is no image of a container is refused before it travels
        self._judge(registry, reference, image, found)
        lease = stack.enter_context(self._layout.lease())
        workers = self._config.concurrent_downloads
        here = self._layout.bring(image, lease, progress=flight.heard, workers=workers)
        flight.landed()
        if chain and not isinstance(here, ImageIndex):
            stack.enter_context(self._snapshots.prepare(here, progress=flight.heard))
        flight.check()
        names = dict.fromkeys((evolve(reference.at(found.digest), tag=None), reference))
        self._layout.enter(image, [name_of(name) for name in names])
        return str(image.manifest.config.digest)

    def _judge(self, registry: Client, reference: Reference, image: Image, found: Image | ImageIndex) -> None:
        if not self._config.image_policy:
            return
        from ociworks.image.sign import Policy

        within = found if isinstance(found, ImageIndex) else None
        policy = Policy.load(self._config.image_policy)
        policy.check(registry, reference, image, within=within).raise_if_failed()

    def _client(self, keychain: Keychain, flight: _Flight) -> Client:
        """A client for one pull: the host's files are read now, and nothing of its login stays."""
        limits = DEFAULT_LIMITS
        if seconds := self._config.image_pull_timeout:
            limits = evolve(
                limits,
                connect_timeout=min(limits.connect_timeout, seconds),
                read_timeout=min(limits.read_timeout, seconds),
                slow_window=min(limits.slow_window, seconds),
            )
        options = remote.ClientOptions(limits=limits, sleep=flight.pause)
        return remote.Client(keychain=keychain, hosts=hosts_of(self._config), options=options)


def _with_notes(error: Exception) -> str:
    """The error, and what the mirrors said before."""
    return "; ".join([str(error), *getattr(error, "__notes__", ())])
