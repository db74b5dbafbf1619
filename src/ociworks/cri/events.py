"""What happens to pods and containers, for whoever follows it (the kubelet's evented PLEG).

Publishing never waits: each subscription holds a bounded number of events. One that is not read is cut when it is full,
which its reader is told by TooMany, so that it lists everything anew instead of missing something.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple, Self

from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import TooMany

__all__ = ["Describe", "Events", "Subscription"]

logger = logging.getLogger(__name__)

QUEUE: Final = 1000
"""Events that a subscription holds."""
_WAITING: Final = 10_000
"""Events that wait to be described."""
SUBSCRIPTIONS: Final = 256
"""Subscriptions at a time."""

Describe = Callable[[str], "tuple[api.PodSandboxStatus | None, Sequence[api.ContainerStatus]]"]
"""Sandbox ID → its status (None when it is gone) and those of its containers."""


class Subscription:
    """The events since it was made, in order: iterate it. Close it, or use it as a context manager."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._wake: Callable[[], None] = lambda: None
        self._ready = threading.Condition()
        self._queue: deque[api.ContainerEventResponse] = deque()
        self._closed = False
        self._full = False

    def __iter__(self) -> Iterator[api.ContainerEventResponse]:
        while (event := self.next()) is not None:
            yield event

    def next(self, *, wait: bool = True) -> api.ContainerEventResponse | None:
        """The next event; None after the end (or, unless ``wait``, when there is none yet).

        TooMany when it was cut because it was not read in time.
        """
        with self._ready:
            while wait and not (self._queue or self._closed or self._full):
                self._ready.wait()
            if self._queue:
                return self._queue.popleft()
            if self._full:
                raise TooMany(
                    f"the reader fell {QUEUE} events behind and was cut: subscribe again and list everything anew"
                )
            return None

    def on_news(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called, in the publisher's thread, whenever ``next`` may have news."""
        self._wake = wake

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more."""
        with self._ready:
            return not self._queue and (self._closed or self._full)

    def close(self) -> None:
        """No more events; a waiting reader ends. Again is harmless."""
        self._events.forget(self)
        with self._ready:
            self._closed = True
            self._queue.clear()
            self._ready.notify_all()
        self._wake()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def offer(self, event: api.ContainerEventResponse) -> bool:
        """Put an event at the end; False when it is full and therefore cut."""
        with self._ready:
            room = len(self._queue) < QUEUE
            if room:
                self._queue.append(event)
                self._ready.notify_all()
        if not room:
            self.cut()
        self._wake()
        return room

    def cut(self) -> None:
        """Nothing more, and the reader is told, after what it has not read yet."""
        with self._ready:
            self._full = True
            self._ready.notify_all()
        self._wake()


class Events:
    """Publishes to every subscription, from a thread of its own.

    ``describe`` adds the pod's and its containers' status to each event. It is called there, so that whoever publishes
    may hold the locks that it needs.
    """

    def __init__(self, describe: Describe | None = None) -> None:
        self._describe = describe
        self._guard = threading.Lock()
        self.changed = threading.Condition(self._guard)
        """Notified when somebody subscribes or leaves, and when something is published."""
        self._subscriptions: set[Subscription] = set()
        self._waiting: deque[_Happened] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False

    def __len__(self) -> int:
        """How many follow."""
        return len(self._subscriptions)

    def publish(
        self,
        kind: api.ContainerEventType,
        container_id: str,
        sandbox_id: str,
        *,
        at: int = 0,
        pod: api.PodSandboxStatus | None = None,
    ) -> None:
        """Tell what happened to a container (or a sandbox: both IDs are its own), ``at`` nanoseconds, 0: now.

        ``pod`` is the last that can be said of a sandbox that is gone: a kubelet cannot do without. The events of its
        containers that wait still have it, too.
        """
        with self._guard:
            if self._subscriptions and len(self._waiting) < _WAITING:
                self._waiting.append(_Happened(kind, container_id, sandbox_id, at or time.time_ns(), pod))
                self.changed.notify_all()
                return
            lost, self._subscriptions = self._subscriptions, set()
        for reader in lost:
            reader.cut()

    def subscribe(self) -> Subscription:
        """A new subscription. TooMany when there are too many."""
        subscription = Subscription(self)
        with self._guard:
            if len(self._subscriptions) >= SUBSCRIPTIONS:
                raise TooMany(f"expected at most {SUBSCRIPTIONS} followers of events at a time")
            if not self._closed:
                self._subscriptions.add(subscription)
                self._begin()
                self.changed.notify_all()
                return subscription
        subscription.close()
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """Publish nothing more to it."""
        with self._guard:
            self._subscriptions.discard(subscription)
            self.changed.notify_all()

    def close(self) -> None:
        """End every subscription; later ones end at once. Again is harmless."""
        with self._guard:
            self._closed = True
            readers, thread = tuple(self._subscriptions), self._thread
            self.changed.notify_all()
        for reader in readers:
            reader.close()
        if thread is not None:
            thread.join()

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ociworks-events", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (happened := self._next()) is not None:
            with self._guard:  # before: a description for nobody says nothing of the containers
                readers = tuple(self._subscriptions)
            event = self._event(happened)
            for reader in readers:
                if not reader.offer(event):
                    self.forget(reader)

    def _next(self) -> _Happened | None:
        with self._guard:
            while not (self._waiting or self._closed):
                self.changed.wait()
            return None if self._closed else self._waiting.popleft()

    def _event(self, happened: _Happened) -> api.ContainerEventResponse:
        pod, containers = self._described(happened.sandbox_id)
        pod = pod or self._last_of(happened)
        return api.ContainerEventResponse(
            container_id=happened.container_id,
            container_event_type=happened.kind,
            created_at=happened.at,
            pod_sandbox_status=pod,
            containers_statuses=containers,
        )

    def _last_of(self, happened: _Happened) -> api.PodSandboxStatus | None:
        """What was said at last of a pod that is gone."""
        with self._guard:
            later = (each.pod for each in self._waiting if each.sandbox_id == happened.sandbox_id)
            return happened.pod or next(filter(None, later), None)

    def _described(
        self, sandbox_id: str
    ) -> tuple[api.PodSandboxStatus | None, Sequence[api.ContainerStatus]]:
        """Whatever goes wrong here costs one event its description, and never the thread."""
        try:
            return self._describe(sandbox_id) if self._describe else (None, ())
        except Exception:
            logger.exception("pod %s cannot be described", sandbox_id)
            return None, ()


class _Happened(NamedTuple):
    kind: api.ContainerEventType
    container_id: str
    sandbox_id: str
    at: int
    pod: api.PodSandboxStatus | None
