"""The monitor: ends of containers are written down, whatever becomes of their shims."""

from __future__ import annotations

import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from ociworks import errors, spec
from ociworks.cri._again import Again
from ociworks.cri.monitor import Monitor
from ociworks.cri.records import ContainerRecord
from ociworks.runtime import Detach, OCIContainer, OCIRuntime, Runtime, RuntimeBinary
from ociworks.runtime.detach import Exit, ExitWatch
from tests.descriptors import changed_since, descriptors
from tests.interop.peers import peer
from tests.runtime.boxes import box, nothing_left
from tests.runtime.shims import parent, until_ended

PATIENCE = 60.0


class Book:
    """Records of containers, and what their ends were."""

    def __init__(self, runtime: OCIRuntime) -> None:
        self._runtime = runtime
        self.ends: dict[str, int | None] = {}
        self.changed = threading.Condition()

    def get(self, name: str) -> OCIRuntime:
        """The runtime of every handler."""
        assert name == ""
        return self._runtime

    def settle(self, id: str) -> ContainerRecord:
        """As the containers' part does it."""
        with self.changed:
            record = running(id)
            try:
                container = self._runtime.get(id)
                if container.status != "stopped":
                    return record
                found = container.exit
                self.ends[id] = None if found is None else found.status
            except errors.ContainerNotFound:
                self.ends[id] = None
            self.changed.notify_all()
            return evolve(record, phase="exited")

    def until(self, count: int) -> dict[str, int | None]:
        """The ends, when there are so many."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.ends) >= count, PATIENCE), self.ends
        return self.ends


def running(id: str) -> ContainerRecord:
    """A record of one that runs."""
    return ContainerRecord(
        id=id, sandbox_id="p", name=id, phase="running", handler="", config=b"", created_at=1
    )


@pytest.fixture(params=["ours", pytest.param("runc", marks=pytest.mark.interop)])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OCIRuntime]:
    root = tmp_path / "state"
    made = Runtime(root) if request.param == "ours" else RuntimeBinary(peer("runc"), root)
    with nothing_left(root), made:
        yield made


@pytest.fixture
def bundle(tmp_path: Path) -> spec.Bundle:
    return box(tmp_path / "bundle")


@pytest.mark.root
def test_ends_are_written_down(runtime: OCIRuntime, bundle: spec.Bundle) -> None:
    """Of those that end, with their status; the others go on. One that is watched late is not missed."""
    book = Book(runtime)
    made: dict[str, OCIContainer] = {}
    try:
        with Monitor(book, book.settle) as monitor:
            for name, script in (("one", "exit 3"), ("two", "sleep 1000"), ("three", "sleep 1000")):
                made[name] = runtime.create(name, bundle, ["sh", "-c", script], detach=Detach())
            for name in ("one", "two"):
                monitor.watch(running(name))
                made[name].start()
            assert book.until(1) == {"one": 3}
            made["three"].start()
            made["three"].kill("KILL")
            made["three"].wait(60)
            monitor.watch(running("three"))
            assert book.until(2) == {"one": 3, "three": -signal.SIGKILL}
            assert len(monitor) == 1
        assert made["two"].status == "running"
        with Monitor(book, book.settle) as monitor:
            for name in made:
                monitor.resolve(running(name))
            assert len(monitor) == 1
            made["two"].kill("KILL")
            assert book.until(3)["two"] == -signal.SIGKILL
    finally:
        for container in made.values():
            container.delete(force=True)


def test_the_shim_of_one_that_has_ended() -> None:
    """It may be there for a while: nothing is watched, and its end is written down by whoever asked."""
    book = Book(Lingering())  # type: ignore[arg-type]
    with Monitor(book, book.settle) as monitor:
        monitor.resolve(running("one"))
        assert book.ends == {"one": 7}
        assert len(monitor) == 0


class Lingering:
    """A runtime with a container that has ended, and whose shim has not."""

    status = "stopped"
    exit = Exit(status=7, oom_killed=False, exited_at="2026-01-01T00:00:00Z", log_lost=0)

    def get(self, id: str) -> Lingering:
        return self

    def watch_exit(self) -> ExitWatch:
        return ExitWatch(socket.socketpair()[0])


@pytest.mark.root
def test_a_killed_shim(runtime: OCIRuntime, bundle: spec.Bundle) -> None:
    """Nobody reads what such a container writes: it is ended, and nobody knows how it ended."""
    book = Book(runtime)
    with runtime.create("lost", bundle, ["sleep", "1000"], detach=Detach()) as container:
        container.start()
        pid = container.pid
        with Monitor(book, book.settle) as monitor:
            monitor.watch(running("lost"))
            os.kill(parent(pid), signal.SIGKILL)
            assert book.until(1) == {"lost": None}
        until_ended(pid)


@pytest.mark.root
def test_what_is_found_without_a_shim(runtime: OCIRuntime, bundle: spec.Bundle) -> None:
    """The same at the start of a server; and of one that no runtime knows."""
    book = Book(runtime)
    with runtime.create("lost", bundle, ["sleep", "1000"], detach=Detach()) as container:
        container.start()
        pid = container.pid
        shim = parent(pid)
        os.kill(shim, signal.SIGKILL)
        until_ended(shim)
        with Monitor(book, book.settle) as monitor:
            monitor.resolve(running("lost"))
            monitor.resolve(running("unknown"))
        assert book.ends == {"lost": None, "unknown": None}
        until_ended(pid)


class Fake:
    """A runtime whose containers end when they are told to."""

    def __init__(self) -> None:
        self.ends: dict[str, socket.socket] = {}
        self.refuse = 0
        """How many more connections are cut at once, as by a shim that has no room."""
        self.gone: set[str] = set()
        """Containers whose shims have ended."""

    def get(self, id: str) -> Any:
        return _FakeContainer(self, id)


class _FakeContainer:
    def __init__(self, runtime: Fake, id: str) -> None:
        self._runtime, self._id = runtime, id

    def watch_exit(self) -> ExitWatch | None:
        if self._id in self._runtime.gone:
            return None
        ours, theirs = socket.socketpair()
        if self._runtime.refuse:
            self._runtime.refuse -= 1
            theirs.close()
        else:
            self._runtime.ends[self._id] = theirs
        return ExitWatch(ours)


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """As many as thousands of connections need, both ends; skipped where root's own limit is lower."""
    needed = 8192
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"at most {hard} descriptors here (ulimit -Hn), {needed} are needed")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_thousands_with_one_thread() -> None:
    """A descriptor each, one thread for all and a few that write; nothing is open afterwards."""
    fake = Fake()
    ended: dict[str, int] = {}
    done = threading.Event()

    def settle(id: str) -> ContainerRecord:
        ended[id] = ended.get(id, 0) + 1
        if len(ended) == 1500:
            done.set()
        return evolve(running(id), phase="exited")

    threads, opened = threading.active_count(), descriptors()
    with Monitor(_Handlers(fake), settle) as monitor:
        for number in range(3000):
            monitor.watch(running(str(number)))
        assert len(monitor) == 3000
        assert threading.active_count() == threads + 1
        for number in range(0, 3000, 2):
            fake.ends.pop(str(number)).close()
        assert done.wait(PATIENCE)
        assert threading.active_count() <= threads + 5
    assert set(ended.values()) == {1}
    assert threading.active_count() == threads
    for left in fake.ends.values():
        left.close()
    assert not changed_since(opened)


def test_a_shim_without_room_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what cannot be written down now, too; what nobody foresaw harms no other container."""
    monkeypatch.setattr("ociworks.cri.monitor.Again", lambda: Again(first=0.01))
    fake = Fake()
    fake.refuse = 2
    failures: list[Exception] = [errors.StoreError("the disk is full"), RuntimeError("a mistake")]
    ended = threading.Event()
    over = False

    def settle(id: str) -> ContainerRecord:
        if not over:
            return running(id)
        if id == "other" and failures:
            raise failures.pop(0)
        ended.set()
        return evolve(running(id), phase="exited")

    with Monitor(_Handlers(fake), settle) as monitor:
        monitor.watch(running("full"))
        _until(lambda: "full" in fake.ends)
        monitor.watch(running("other"))
        over = True
        fake.gone = {"full", "other"}
        fake.ends["other"].close()
        _until(lambda: not failures)
        assert not ended.is_set()
        fake.ends["full"].close()
        assert ended.wait(PATIENCE)


def test_attempts_become_rare() -> None:
    """Each after twice the time, a minute at most; once one succeeded, soon again."""
    now = 100.0
    again: Again[str] = Again(clock=lambda: now)
    assert again.left() is None
    waited = []
    for _ in range(9):
        again.add("a", "thing")
        left = again.left()
        assert left is not None
        assert again.due() == []
        waited.append(left)
        now += left
        assert again.due() == ["thing"]
    assert waited == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    again.add("a", "thing")
    again.add("b", "other")
    assert again.left() == 1
    assert len(again) == 2
    again.done("a")
    assert len(again) == 1
    again.add("a", "thing")
    now += 1
    assert sorted(again.due()) == ["other", "thing"]


class _Handlers:
    def __init__(self, fake: Fake) -> None:
        self._fake = fake

    def get(self, name: str) -> Any:
        return self._fake


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
