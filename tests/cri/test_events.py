"""Events for followers, in one process."""

from __future__ import annotations

import threading

import pytest

from ociworks.cri import events
from ociworks.cri.events import Events
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import TooMany

DELETED = api.ContainerEventType.CONTAINER_DELETED_EVENT
STARTED = api.ContainerEventType.CONTAINER_STARTED_EVENT


def test_events_carry_the_pod() -> None:
    """Its status and those of its containers, as they are when something happens."""

    def describe(sandbox: str) -> tuple[api.PodSandboxStatus, list[api.ContainerStatus]]:
        return api.PodSandboxStatus(id=sandbox), [api.ContainerStatus(id="c")]

    published = Events(describe)
    with published.subscribe() as follower:
        published.publish(STARTED, "c", "p", at=7)
        event = follower.next()
    assert event == api.ContainerEventResponse(
        container_id="c",
        container_event_type=STARTED,
        created_at=7,
        pod_sandbox_status=api.PodSandboxStatus(id="p"),
        containers_statuses=[api.ContainerStatus(id="c")],
    )


def test_the_last_events_of_a_pod_tell_whose_they_are() -> None:
    """A kubelet drops events without a pod, and would not notice that this one is gone."""
    last = api.PodSandboxStatus(id="p", metadata=api.PodSandboxMetadata(uid="u"))
    gone = threading.Event()

    def describe(sandbox: str) -> tuple[None, list[api.ContainerStatus]]:
        gone.wait()
        return None, []

    published = Events(describe)
    with published.subscribe() as follower:
        published.publish(DELETED, "c", "p")
        published.publish(DELETED, "c", "another")
        published.publish(DELETED, "p", "p", pod=last)
        gone.set()
        found = [follower.next() for _ in range(3)]
    published.close()
    assert [event and event.pod_sandbox_status.metadata.uid for event in found] == ["u", "", "u"]


def test_nobody_is_described_to_nobody() -> None:
    """Without followers nothing is looked up."""

    def describe(sandbox: str) -> tuple[None, list[api.ContainerStatus]]:
        raise AssertionError

    published = Events(describe)
    published.publish(STARTED, "c", "p")
    published.close()


def test_whoever_publishes_may_hold_what_describing_needs() -> None:
    """The lock of a container, say."""
    lock = threading.Lock()

    def describe(sandbox: str) -> tuple[None, list[api.ContainerStatus]]:
        with lock:
            return None, []

    published = Events(describe)
    with published.subscribe() as follower:
        with lock:
            published.publish(STARTED, "c", "p")
        assert follower.next() is not None
    published.close()


def test_a_waiting_follower_ends_with_the_server() -> None:
    published = Events()
    follower = published.subscribe()
    found: list[object] = []
    reading = threading.Thread(target=lambda: found.extend(follower))
    reading.start()
    published.close()
    reading.join(60)
    assert not reading.is_alive()
    assert not found
    assert list(published.subscribe()) == []


def test_followers_are_bounded() -> None:
    published = Events()
    kept = [published.subscribe() for _ in range(events.SUBSCRIPTIONS)]
    with pytest.raises(TooMany):
        published.subscribe()
    kept[0].close()
    published.subscribe()


def test_publishing_from_many_threads() -> None:
    """Every event once, and each thread's in its order."""
    published = Events()

    def publish(name: int) -> None:
        for number in range(50):
            published.publish(STARTED, f"{name}-{number}", "")

    with published.subscribe() as follower:
        threads = [threading.Thread(target=publish, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        seen = [follower.next() for _ in range(400)]
        for thread in threads:
            thread.join()
    names = [event.container_id for event in seen if event]
    assert len(set(names)) == 400
    for thread_name in range(8):
        own = [name for name in names if name.startswith(f"{thread_name}-")]
        assert own == [f"{thread_name}-{n}" for n in range(50)]
