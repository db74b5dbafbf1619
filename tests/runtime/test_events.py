"""What happens to a container, as events: out of memory, killed for it, short of it, stopped."""

from __future__ import annotations

import os
import select
import threading

import pytest

from ociworks import spec
from ociworks.errors import IllegalTransition, NotSupported
from ociworks.runtime import Runtime, cgroups
from ociworks.spec.runtime import Memory, Resources
from tests.runtime.boxes import with_linux
from tests.runtime.groups import needs_groups

pytestmark = [pytest.mark.root, pytest.mark.cgroup2]

MIB = 1 << 20
NAME = f"test-{os.getpid()}"
GREEDY = ["sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done"]


@pytest.fixture
def small(bundle: spec.Bundle) -> spec.Bundle:
    """A bundle with little memory."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    needs_groups("memory")
    return with_linux(bundle, resources=Resources(memory=Memory(limit=16 * MIB, swap=16 * MIB)))


def test_out_of_memory_then_stopped(runtime: Runtime, small: spec.Bundle) -> None:
    with runtime.create(NAME, small, GREEDY) as container:
        events = container.events()
        before = threading.active_count()
        container.start()
        kinds = [event.kind for event in events]
        assert kinds[-1] == "stopped"
        assert {"oom", "oom_kill"} <= set(kinds)
        assert threading.active_count() == before
        assert container.wait() == -9
        memory = container.stats().memory
        assert memory is not None
        assert memory.oom_kills >= 1


def test_a_killed_child_is_an_event_of_a_container_that_goes_on(runtime: Runtime, small: spec.Bundle) -> None:
    with runtime.create(NAME, small, ["sleep", "1000"]) as container:
        container.start()
        with Runtime(runtime.root).get(NAME).events() as events:
            poller = select.poll()
            poller.register(events.fileno(), select.POLLIN)
            assert events.read(0) == ()
            container.exec(GREEDY)
            assert poller.poll(60_000)
            found = events.read(10)
            assert {event.kind for event in found} <= {"oom", "oom_kill"}
            assert found[0].container_id == NAME
        assert container.status == "running"


def test_stopped_alone(runtime: Runtime, small: spec.Bundle) -> None:
    with runtime.create(NAME, small, ["true"]) as container, container.events() as events:
        container.start()
        assert [event.kind for event in events] == ["stopped"]
        assert events.read(0) == ()
        assert container.wait() == 0
        with pytest.raises(IllegalTransition):
            container.events()


def test_a_trigger_for_pressure(runtime: Runtime, small: spec.Bundle) -> None:
    with runtime.create(NAME, small, GREEDY) as container:
        trigger = cgroups.PressureTrigger(stall=1000, window=500_000, level="low")
        try:
            events = container.events(trigger)
        except NotSupported as error:
            assert "pressure" in str(error)  # noqa: PT017
            return
        with events:
            container.start()
            assert next(iter(events)).kind in ("pressure", "oom", "oom_kill")
