"""Filters that ask (SCMP_ACT_NOTIFY): a container, an exec, and the one who answers."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ociworks import errors, spec
from ociworks.runtime import RunOptions, Runtime
from ociworks.runtime.seccomp import Call, Listener, Notifier
from ociworks.runtime.seccomp.handover import hand_over
from ociworks.spec.runtime import Seccomp, Syscall
from tests.runtime.boxes import changed, with_linux, with_process

Answer = Callable[[Notifier, Call], None]
pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of calls are of x86_64")


def asking(bundle: spec.Bundle, path: Path, *names: str, metadata: str | None = None) -> spec.Bundle:
    """The bundle with a filter that asks about some calls and allows the others."""
    rule = Syscall(names=names, action="SCMP_ACT_NOTIFY")
    filtered = Seccomp(
        default_action="SCMP_ACT_ALLOW", listener_path=str(path), listener_metadata=metadata, syscalls=(rule,)
    )
    return with_linux(bundle, seccomp=filtered)


@contextmanager
def agent(path: Path, answer: Answer, count: int = 1) -> Iterator[list[Notifier]]:
    """Somebody who answers, in a thread; gives those who were handed over."""
    served: list[Notifier] = []
    threads: list[threading.Thread] = []

    def answer_all(asked: Notifier) -> None:
        with asked:
            for call in asked:
                answer(asked, call)

    def serve() -> None:
        for _ in range(count):
            served.append(listener.accept(timeout=60))
            threads.append(threading.Thread(target=answer_all, args=(served[-1],)))
            threads[-1].start()

    with Listener(path) as listener:
        threads.append(threading.Thread(target=serve))
        threads[0].start()
        try:
            yield served
        finally:
            for thread in threads:
                thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert not path.exists()


def test_answers(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """A call is allowed, refused, or done by somebody else, by what its arguments say; memory is read safely."""
    seen: list[str] = []

    def answer(asked: Notifier, call: Call) -> None:
        name = asked.read_text(call, call.args[0])
        seen.append(name)
        assert asked.waits(call)
        if name.endswith("fine"):
            asked.allow(call)
        elif name.endswith("done"):
            asked.result(call, 0)
        else:
            asked.fail(call, errno.EDOM)

    script = "mkdir /tmp/fine && mkdir /tmp/done && ls /tmp; mkdir /tmp/wrong"
    path = tmp_path / "agent"
    asks = changed(asking(bundle, path, "mkdir", metadata="who asks"), annotations={"a": "b"})
    with agent(path, answer) as served:
        done = runtime.run(asks, ["sh", "-c", script], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, b"fine\n")
    assert seen == ["/tmp/fine", "/tmp/done", "/tmp/wrong"]
    told = served[0].state
    assert (told.metadata, told.fds, told.state.id) == ("who asks", ("seccompFd",), done.container_id)
    assert (told.state.annotations["a"], told.pid, told.state.bundle) == (
        "b",
        told.state.pid,
        str(bundle.path),
    )
    assert not spec.validate(told)


@pytest.mark.parametrize("privileged", [False, True])
def test_created_started_and_joined(
    runtime: Runtime, bundle: spec.Bundle, tmp_path: Path, privileged: bool
) -> None:
    """Handed over when the container is started, and again for every exec, with its own pid and the state."""
    if privileged and os.geteuid() != 0:
        pytest.skip("a filter without no-new-privileges needs CAP_SYS_ADMIN")
    path = tmp_path / "agent"
    asks = with_process(asking(bundle, path, "mkdir"), no_new_privileges=not privileged)
    with (
        agent(path, lambda asked, call: asked.allow(call), count=2) as served,
        runtime.create("asks", asks, ["sh", "-c", "mkdir /tmp/one; sleep 1000"]) as container,
    ):
        container.start()
        done = container.exec(["mkdir", "/tmp/two"], timeout=60)
        assert done.returncode == 0, done.stderr
        assert [each.state.state.status for each in served] == ["created", "running"]
        assert served[0].state.pid == container.pid
        assert served[1].state.pid != container.pid
        assert served[1].state.state.pid == container.pid
    assert sorted(os.listdir(bundle.rootfs / "tmp")) == ["one", "two"]


def test_nobody_listens(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """The program is not run; a start says why, whoever starts."""
    asks = asking(bundle, tmp_path / "nobody", "mkdir")
    with pytest.raises(errors.CreateFailed, match="nobody takes the listener"):
        runtime.run(asks, ["touch", "/tmp/ran"], timeout=60)
    with runtime.create("asks", asks, ["touch", "/tmp/ran"]) as container:
        with pytest.raises(errors.CreateFailed, match="nobody takes the listener"):
            container.start()
        container.wait(60)
    assert not (bundle.rootfs / "tmp/ran").exists()


def test_an_agent_that_goes_away(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """Calls fail then, and do not wait for ever."""
    path = tmp_path / "agent"
    asks = asking(bundle, path, "mkdir")
    with Listener(path) as listener:
        with runtime.create("asks", asks, ["sh", "-c", "mkdir /tmp/x; sleep 1000"]) as container:
            container.start()
            listener.accept(60).close()
            done = container.spawn(["true"])
            listener.accept(60).close()
            assert done.wait(60) == 0
            done.close()
        with pytest.raises(errors.ContainerTimeout):
            listener.accept(0.01)
    assert not (bundle.rootfs / "tmp/x").exists()


def test_profiles_by_name(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The default one for the container's capabilities, none, or a filter; other names are errors."""
    bare = with_linux(bundle, seccomp=None)
    look = ["grep", "Seccomp:", "/proc/self/status"]
    for name, shown in (("default", b"2"), ("unconfined", b"0")):
        for each in (bare, bundle):
            done = runtime.run(each, look, capture_output=True, timeout=60, options=RunOptions(seccomp=name))
            assert done.stdout.split()[1] == shown
    default = runtime.plan(bundle).spec.linux
    assert default is not None
    named = RunOptions(seccomp="default").apply(bare.spec)
    assert named.linux is not None
    assert named.linux.seccomp == default.seccomp
    assert RunOptions(seccomp="default").apply(bare.spec) is named
    with pytest.raises(errors.InvalidSpec, match="strict"):
        RunOptions(seccomp="strict").apply(bare.spec)


class Patient(socket.socket):
    """A socket that goes on when the other side has hung up."""

    def sendmsg(self, *args: Any) -> int:
        sent = super().sendmsg(*args)
        poller = select.poll()
        poller.register(self, select.POLLHUP)
        assert poller.poll(60_000)
        return sent


def test_an_agent_that_takes_it_and_hangs_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has everything then, however soon it is gone; nothing more is sent to it."""
    state = spec.runtime.State(id="x", status="creating", pid=1, bundle="/b")
    path = tmp_path / "agent"
    filtered = Seccomp(default_action="SCMP_ACT_ALLOW", listener_path=str(path))
    taken: list[int] = []

    def take(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            taken.extend(socket.recv_fds(connection, 1 << 16, 1)[1])

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        thread = threading.Thread(target=take, args=(listening,))
        thread.start()
        monkeypatch.setattr(socket, "socket", Patient)
        hand_over(filtered, state, 1, os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        thread.join()
    assert os.path.samestat(os.fstat(taken[0]), os.stat("/dev/null"))
    os.close(taken[0])
