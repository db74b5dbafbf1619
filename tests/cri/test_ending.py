"""Who waits for something that may be long in coming is let go when the server ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from ociworks.cri._ending import Ending
from ociworks.cri.container.waiting import has_ended
from ociworks.errors import ContainerNotFound, ContainerTimeout, ExitStatusUnknown, NotSupported, ServerEnding
from ociworks.runtime.detach import ExitWatch
from tests.descriptors import changed_since, descriptors

LONG = 10_000.0


@pytest.fixture(autouse=True)
def whole() -> Iterator[None]:
    """No descriptor is left open."""
    opened = descriptors()
    yield
    assert not changed_since(opened)


def test_what_becomes_readable_was_waited_for() -> None:
    """Also when there is no time at all, and at the end of the server."""
    ours, theirs = socket.socketpair()
    ending = Ending()
    with ours, theirs:
        assert not ending.until_readable(ours, 0)
        theirs.send(b".")
        assert ending.until_readable(ours, 0)
        assert ending.until_readable(ours, float(2**62))
        ending.begin()
        ending.begin()
        assert ending.until_readable(ours, LONG, spare=LONG)


@pytest.mark.parametrize("spare", [0.0, 0.01])
def test_the_end_lets_everybody_go(spare: float) -> None:
    """Those who wait, and those who come later; but not before what they are spared, or their own time."""
    ending, told = Ending(), []
    waiting = threading.Barrier(9)
    ours, theirs = socket.socketpair()

    def wait() -> None:
        waiting.wait()
        with pytest.raises(ServerEnding):
            ending.until_readable(ours, LONG, spare=spare)
        told.append(1)

    threads = [threading.Thread(target=wait) for _ in range(8)]
    with ours, theirs:
        for thread in threads:
            thread.start()
        waiting.wait()
        ending.begin()
        for thread in threads:
            thread.join()
        assert len(told) == 8
        with pytest.raises(ServerEnding):
            ending.until_readable(ours, LONG, spare=spare)
        assert not ending.until_readable(ours, 0.001, spare=LONG)


class _Container:
    """One whose shim is full at first, and which ends as it is told to."""

    def __init__(self, outcome: Exception | int, *, full: int = 0, shim: bool | None = True) -> None:
        self._outcome, self._full, self._shim = outcome, full, shim
        self.speaks, self._speaker = socket.socketpair()

    @property
    def status(self) -> str:
        """The runtime may have forgotten it by now."""
        if self._shim:
            return "stopped"
        raise ContainerNotFound("gone")

    def watch_exit(self) -> ExitWatch | None:
        """Of no use when it is full: it is readable at once."""
        if self._shim is None:
            raise NotSupported("no shim")
        if not self._shim:
            return None
        if self._full:
            self._full -= 1
            ours, theirs = socket.socketpair()
            theirs.close()
            return ExitWatch(ours)
        return ExitWatch(self.speaks.dup())

    def end(self) -> None:
        """Its shim speaks."""
        self._speaker.close()
        self._full = 0

    def wait(self, timeout: float | None = None) -> int:
        """As it was told, unless nothing was said yet."""
        if self._full:
            raise ContainerTimeout("later", timeout=timeout or 0.0)
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def close(self) -> None:
        self.speaks.close()
        self._speaker.close()


@pytest.mark.parametrize("shim", [True, False, None])
@pytest.mark.parametrize("outcome", [0, 3, ContainerNotFound("gone"), ExitStatusUnknown("killed")])
def test_ends(outcome: Exception | int, *, shim: bool | None) -> None:
    """However it ended, and whether its shim is there or not; also when that was written down by somebody meanwhile."""
    container = _Container(outcome, full=3, shim=shim)
    container.end()
    assert has_ended(container, LONG, Ending())  # type: ignore[arg-type]
    container.close()


def test_a_shim_that_has_no_room_is_asked_again() -> None:
    """Until it has, or the time is over."""
    container = _Container(0, full=3)
    threading.Timer(0.01, container.end).start()
    assert has_ended(container, LONG, Ending())  # type: ignore[arg-type]
    container.close()
    container = _Container(0, full=1 << 30)
    assert not has_ended(container, 0.01, Ending())  # type: ignore[arg-type]
    container.close()


def test_one_that_goes_on() -> None:
    """Its time ends, or the server does, also when nobody can hear it."""
    late = ContainerTimeout("it goes on", timeout=0.0)
    for shim in (True, False, None):
        container, ending = _Container(late, shim=shim), Ending()
        assert not has_ended(container, 0.01, ending)  # type: ignore[arg-type]
        ending.begin()
        with pytest.raises(ServerEnding):
            has_ended(container, LONG, ending)  # type: ignore[arg-type]
        container.close()
