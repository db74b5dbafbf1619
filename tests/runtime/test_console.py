"""The terminal of a container, from the caller's side (RT-16)."""

from __future__ import annotations

import os
import select
from pathlib import Path

import attrs
import pytest

from ociworks import errors, spec
from ociworks.runtime import Console, Runtime
from tests.runtime.boxes import with_process


def read_until(console: Console, expected: bytes) -> bytes:
    """The output until ``expected`` is in it."""
    screen = b""
    poller = select.poll()
    poller.register(console.fileno(), select.POLLIN)
    while expected not in screen:
        assert poller.poll(60_000), f"waiting for {expected!r} after {screen!r}"
        data = console.read()
        assert data, f"end of output before {expected!r}: {screen!r}"
        screen += data
    return screen


def read_all(console: Console) -> bytes:
    screen = b""
    while data := console.read():
        screen += data
    return screen


def shell(bundle: spec.Bundle, script: str) -> spec.Bundle:
    return with_process(bundle, terminal=True, args=("sh", "-c", script))


def test_a_conversation(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A terminal on all three streams, echoing what is typed, with CR LF at line ends."""
    script = 'test -t 0 && test -t 1 && test -t 2 && read name && echo "hello $name" && exit 5'
    with runtime.create("talk", shell(bundle, script)) as container:
        assert container.console is not None
        container.start()
        container.console.write(b"you\r")
        assert read_all(container.console) == b"you\r\nhello you\r\n"
        assert container.wait(timeout=60) == 5


def test_its_size(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The configuration's first, then ours, with SIGWINCH to the program."""
    script = "trap 'stty size' WINCH; stty size; while :; do sleep 0.1; done"
    sized = with_process(shell(bundle, script), console_size=spec.runtime.Box(width=77, height=33))
    with runtime.create("size", sized) as container:
        assert container.console is not None
        assert container.console.size() == (77, 33)
        container.start()
        read_until(container.console, b"33 77\r\n")
        container.console.resize(width=100, height=20)
        read_until(container.console, b"20 100\r\n")


def test_control_keys(runtime: Runtime, bundle: spec.Bundle) -> None:
    """It is the controlling terminal: ^C is a signal, ^D an end of file."""
    script = "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.1; done"
    with runtime.create("keys", shell(bundle, script)) as container:
        assert container.console is not None
        container.start()
        read_until(container.console, b"ready\r\n")
        container.console.write(b"\x03")
        assert b"caught" in read_all(container.console)
        assert container.wait(timeout=60) == 7
    with runtime.create("keys", shell(bundle, "cat; echo end")) as container:
        assert container.console is not None
        container.start()
        container.console.write(b"\x04")
        assert read_all(container.console).endswith(b"end\r\n")


def test_it_is_the_containers_own(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A terminal of the container's devpts, on /dev/console too, owned by its user."""
    script = "tty; readlink /proc/self/fd/0; stat -c '%t:%T %u' /dev/console; echo to console > /dev/console"
    with runtime.create("own", shell(bundle, script)) as container:
        assert container.console is not None
        container.start()
        lines = read_all(container.console).decode().split("\r\n")
        assert lines[:4] == ["/dev/pts/0", "/dev/pts/0", "88:0 0", "to console"]


def test_closing_hangs_up(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Without the master the program gets SIGHUP."""
    with runtime.create(
        "hangup", shell(bundle, "trap 'exit 9' HUP; echo up; while :; do sleep 0.1; done")
    ) as container:
        console = container.console
        assert console is not None
        container.start()
        read_until(console, b"up\r\n")
        console.close()
        console.close()
        assert console.fileno() == -1
        assert container.wait(timeout=60) == 9


def test_a_terminal_without_devpts(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """RT-16: a terminal comes from the container's own devpts, or not at all: never from the host's."""
    mounts = tuple(mount for mount in bundle.spec.mounts if mount.destination != "/dev/pts")
    without = shell(bundle.replace(attrs.evolve(bundle.spec, mounts=mounts)), "true")
    with pytest.raises(errors.CreateFailed, match="open_terminal"):
        runtime.create("none", without)
    planted = bundle.rootfs / "dev/pts"
    assert not planted.exists() or not os.listdir(planted)


def test_none_without_asking(runtime: Runtime, bundle: spec.Bundle) -> None:
    """No terminal in the configuration, no console."""
    with runtime.create("plain", bundle, ["sh", "-c", "test -t 0"], stdin=-3) as container:
        assert container.console is None
        container.start()
        assert container.wait(timeout=60) == 1


def test_captured(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Run and exec on a terminal: all output in one, what is typed echoed; larger than any buffer."""
    script = "read line; echo got $line >&2; test -t 1 && head -c 200000 /dev/zero | tr '\\0' x"
    process = shell(bundle, script).spec.process
    assert process is not None
    done = runtime.run(shell(bundle, script), capture_output=True, input=b"typed\n", timeout=60)
    with runtime.create("plain", bundle, ["sleep", "1000"]) as container:
        container.start()
        again = container.exec(process, input=b"typed\n", timeout=60)
        with pytest.raises(errors.NotSupported, match="capture_output"):
            container.exec(process, capture_output=False)
    for each in (done, again):
        assert each.stdout.startswith(b"typed\r\ngot typed\r\n")
        assert each.stdout.count(b"x") == 200_000
        assert (each.stderr, each.returncode) == (b"", 0)
    with pytest.raises(errors.NotSupported, match="capture_output"):
        runtime.run(shell(bundle, script))


def test_its_owner(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The user's, in the group that the file system gives it, which lets others of that group write to it."""
    if os.geteuid():
        pytest.skip("needs root: a user namespace of one user has no group 5")
    user = spec.runtime.User(uid=1000, gid=1000)
    assert bundle.spec.process is not None
    owned = with_process(shell(bundle, "stat -c %u:%g $(tty)"), user=user)
    with runtime.create("owner", owned) as container:
        assert container.console is not None
        container.start()
        assert read_all(container.console) == b"1000:5\r\n"
    with runtime.create("exec", with_process(bundle, args=("sleep", "1000"))) as container:
        container.start()
        target = attrs.evolve(
            bundle.spec.process, terminal=True, user=user, args=("sh", "-c", "stat -c %u:%g $(tty)")
        )
        assert container.exec(target, timeout=60).stdout == b"1000:5\r\n"
