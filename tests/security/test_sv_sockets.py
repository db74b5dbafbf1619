"""SV-01: a shim's control socket. Who may reach it, and what nonsense does to it."""

from __future__ import annotations

import array
import contextlib
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from ociworks import errors
from ociworks.runtime import Container, Detach, Runtime
from ociworks.runtime.shim import messages
from tests.runtime.boxes import box, nothing_left
from tests.runtime.shims import detached, knock, open_files, settled, shim_of


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    """A runtime that must leave nothing behind."""
    with nothing_left(tmp_path / "root"), Runtime(tmp_path / "root") as made:
        yield made


@pytest.fixture
def found(runtime: Runtime, tmp_path: Path) -> Iterator[Container]:
    """A running container with a shim."""
    with detached(runtime, box(tmp_path / "bundle"), "exec sleep 1000", stdin=True) as made:
        made.start()
        yield made


def test_sv_01_private_paths(runtime: Runtime, found: Container) -> None:
    """The socket has a path, in a directory that is ours alone; there is no abstract one."""
    place = Path(runtime.root, "far")
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    info = (place / "shim").stat()
    assert (stat.S_ISSOCK(info.st_mode), stat.S_IMODE(info.st_mode)) == (True, 0o600)
    inodes = {name for name in open_files(shim_of(found)) if name.startswith("socket:")}
    listening = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    ours = [line for line in listening if f"socket:[{line[6]}]" in inodes]
    assert ours
    assert not [line for line in ours if line[7:] and line[7].startswith("@")]


def test_sv_01_long_paths(tmp_path: Path) -> None:
    """A path that no socket address can hold is used all the same, never cut."""
    root = tmp_path.joinpath("long" * 30, "deep" * 40)
    root.parent.mkdir(parents=True)
    with (
        nothing_left(root),
        Runtime(root) as runtime,
        detached(runtime, box(tmp_path / "b"), "exit 3") as found,
    ):
        found.start()
        assert found.wait(60) == 3
    assert len(os.fspath(root)) > 200


@pytest.mark.parametrize("kind", ["file", "link", "directory", "socket"])
def test_sv_01_pre_created(runtime: Runtime, tmp_path: Path, kind: str) -> None:
    """What is under the container's name already stays as it is."""
    bundle = box(tmp_path / "bundle")
    outside = tmp_path / "outside"
    outside.mkdir()
    root = Path(runtime.root)
    root.mkdir(mode=0o700)
    place = root / "far"
    match kind:
        case "file":
            place.write_text("before")
        case "link":
            place.symlink_to(outside)
        case "directory":
            place.mkdir()
        case _:
            with socket.socket(socket.AF_UNIX) as taken:
                taken.bind(os.fspath(place))
    before = place.lstat()
    with pytest.raises(errors.ContainerExists):
        runtime.create("far", bundle, detach=Detach())
    assert place.lstat() == before
    assert not list(outside.iterdir())
    assert os.listdir(root) == ["far"]
    if kind == "directory":
        place.rmdir()
    else:
        place.unlink()


NONSENSE = {
    "a length of four gigabytes": b"\xff\xff\xff\xffA",
    "an unknown operation": b"x",
    "more than a message": b"I" * 20_000,
    "a request of a launcher": b"\0\0\0\x05\0\0\0\0abcde",
    "an attachment to nothing": b"A\0",
    "an attachment to everything": b"A\xff",
    "an attachment without streams": b"A",
    "a size cut short": b"S\0\x50",
    "input without an attachment": b"Ils\n",
    "the end of input without an attachment": b"Z",
    "what only shims say": b"X\0\0\0\0\0\0\0\0",
}


@pytest.mark.parametrize("message", NONSENSE.values(), ids=NONSENSE)
def test_sv_01_nonsense(runtime: Runtime, found: Container, message: bytes) -> None:
    """Whoever says something that is not in the table is cut off, and nobody else notices."""
    with found.attach() as attached:
        with knock(found, runtime.root) as channel:
            channel.send(message)
            assert channel.recv(100) == b""
        assert found.status == "running"
        found.kill("KILL")
        assert [*attached] == []
        assert attached.status == -9


def test_sv_01_surplus_descriptors(runtime: Runtime, found: Container) -> None:
    """Descriptors that come with a message are not taken, and it ends the connection."""
    before = settled(found, runtime.root)
    with knock(found, runtime.root) as channel, open(os.devnull, "rb") as null:
        rights = array.array("i", [null.fileno()] * 200)
        channel.sendmsg([b"W"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        assert channel.recv(100) == b""
    assert settled(found, runtime.root) == before


def test_sv_01_idle_connections(runtime: Runtime, found: Container) -> None:
    """Of a thousand that say nothing few are let in, and those not for long; who was there before notices nothing."""
    with found.attach(stdin=True) as attached:
        idle = []
        for _ in range(1000):
            idle.append(knock(found, runtime.root))  # noqa: PERF401 - each is in the list as soon as it is open
        assert len(open_files(shim_of(found))) < 100
        for channel in idle:
            assert channel.recv(100) == b""
            channel.close()
        attached.write(b"x")
        found.attach().close()


def test_sv_01_half_a_session(runtime: Runtime, found: Container) -> None:
    """Clients that vanish at any point of a session leave nothing in the shim."""
    before = settled(found, runtime.root)
    for message in (b"", b"W", b"A\x07", b"A\x07I", b"S\0\0\0\0", messages.REOPEN):
        with knock(found, runtime.root) as channel:
            for part in (message[:2], message[2:]):
                if part:
                    with contextlib.suppress(BrokenPipeError):
                        channel.send(part)
    assert settled(found, runtime.root) == before


@pytest.mark.root
def test_sv_01_another_user(runtime: Runtime, found: Container, tmp_path: Path) -> None:
    """Another user cannot come near; and where directories were opened to all, is not listened to."""
    socket_path = Path(runtime.root, "far/shim")
    assert _as_user(socket_path) == "EACCES"
    opened = [socket_path, *list(socket_path.parents)[:-1]]
    modes = {path: path.stat().st_mode for path in opened}
    try:
        for path in opened:
            path.chmod(modes[path] | 0o007)
        assert _as_user(socket_path) == "cut off"
        with pytest.raises(errors.ContainerError, match="open to somebody else"):
            found.attach()
    finally:
        for path, mode in modes.items():
            path.chmod(stat.S_IMODE(mode))
    found.attach().close()


def _as_user(path: Path) -> str:
    """What a process of user 1000 hears."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        said = "nothing"
        try:
            os.setresgid(1000, 1000, 1000)
            os.setresuid(1000, 1000, 1000)
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
                place = os.open(path.parent, os.O_PATH)
                channel.connect(f"/proc/self/fd/{place}/shim")
                channel.send(b"A\x02")
                said = "cut off" if channel.recv(100) == b"" else "served"
        except PermissionError:
            said = "EACCES"
        except (BrokenPipeError, ConnectionResetError):
            said = "cut off"
        finally:
            os.write(writer, said.encode())
            os._exit(0)
    os.wait()
    os.close(writer)
    with open(reader, encoding="ascii") as stream:
        return stream.read()


@pytest.mark.root
def test_sv_01_a_container_with_the_hosts_network(runtime: Runtime, tmp_path: Path) -> None:
    """Sharing the host's network gives a container no way to a shim, its own or another's."""
    bundle = box(tmp_path / "bundle")
    assert bundle.spec.linux is not None
    kept = tuple(space for space in bundle.spec.linux.namespaces if space.type != "network")
    shared = bundle.replace(attrs.evolve(bundle.spec, linux=attrs.evolve(bundle.spec.linux, namespaces=kept)))
    with detached(runtime, shared, "cat /proc/net/unix; exec sleep 1000", log=tmp_path / "log") as found:
        found.start()
        with found.attach():
            assert found.exec(["cat", "/proc/net/unix"], timeout=60).stdout.count(b"\n") > 1
            listing = found.exec(["cat", "/proc/net/unix"], timeout=60).stdout
        assert b"@ociworks" not in listing


def test_sv_01_many_at_once(runtime: Runtime, found: Container) -> None:
    """Sixteen threads that wait for the same end all hear of it."""
    heard: list[int] = []
    threads = [threading.Thread(target=lambda: heard.append(found.wait(60))) for _ in range(16)]
    for thread in threads:
        thread.start()
    found.kill("KILL")
    for thread in threads:
        thread.join()
    assert heard == [-9] * 16
