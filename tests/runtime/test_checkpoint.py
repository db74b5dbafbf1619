"""Checkpoint and restore where this kernel, or a virtual machine, lets criu work."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from ociworks import errors, spec
from ociworks.runtime import (
    CheckpointOptions,
    Container,
    Detach,
    OCIContainer,
    OCIRuntime,
    RestoreOptions,
    Runtime,
    RuntimeBinary,
)
from ociworks.runtime.overlay import OverlayBundle, RootfsOverlay
from ociworks.runtime.systemd import manager
from ociworks.spec.runtime import Capabilities, IDMapping, Mount, Namespace, Pids, Resources
from tests.interop.peers import peer
from tests.runtime.boxes import FIRST, changed, remapped_box, with_linux, with_process
from tests.runtime.shims import read_until

REMEMBER = ["sh", "-c", "i=5; while read x; do i=$((i+1)); echo $i $x; done"]


@pytest.fixture
def works() -> None:
    """Skips where criu cannot checkpoint anything: its own check says why."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if said := check(peer("criu")):
        pytest.skip(f"criu does not work on this kernel: {said}")


@functools.cache
def check(program: str) -> str:
    """Empty, or why criu cannot work here."""
    done = subprocess.run([program, "check"], capture_output=True, text=True, check=False)
    return done.stderr.strip()[-200:] if done.returncode else ""


@pytest.fixture
def runtime(works: None, tmp_path: Path) -> Iterator[Runtime]:
    """A runtime of which nothing may stay behind.

    Mounts are told apart by where they are: criu mounts the unified hierarchy itself, which resets its options.
    """
    places = mounted()
    with Runtime(tmp_path / "root") as made:
        yield made
    assert mounted() == places
    assert os.listdir(tmp_path / "root") == []


def mounted() -> list[str]:
    """Where something is mounted."""
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        return [line.split()[4] for line in stream]


@pytest.fixture(params=["ours", "runc"])
def kind(request: pytest.FixtureRequest, works: None, tmp_path: Path) -> Iterator[OCIRuntime]:
    root = tmp_path / "state"
    with Runtime(root) if request.param == "ours" else RuntimeBinary(peer("runc"), root) as made:
        yield made


@pytest.mark.interop
@pytest.mark.root
def test_back_from_disk_into_a_shim(kind: OCIRuntime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """Held by a shim before and after: its output is logged, and its status kept. Ours may still gain no privileges."""
    bundle = with_process(bundle, args=("sh", "-c", REMEMBER[2] + "; exit 7"))
    bundle.save()
    before = kind.create("one", bundle, detach=Detach(stdin=True))
    before.start()
    assert exchanged(before, b"a\n") == b"6 a\n"
    before.checkpoint(CheckpointOptions(image_path=str(tmp_path / "images"), timeout=300))
    assert before.wait(timeout=60) == -9
    before.delete()
    given = RestoreOptions(image_path=str(tmp_path / "images"), timeout=300)
    after = kind.restore("one", bundle, given, detach=Detach(log=str(tmp_path / "log"), stdin=True))
    if isinstance(after, Container):
        assert "NoNewPrivs:\t1" in Path(f"/proc/{after.pid}/status").read_text()
    with after.attach(stdin=True) as attached:
        attached.write(b"b\n")
        attached.close_stdin()
        assert b"".join(chunk.data for chunk in attached) == b"7 b\n"
    assert after.wait(timeout=60) == 7
    assert [record.data for record in after.logs()] == [b"7 b\n"]
    after.delete()
    assert kind.list() == ()


def say(container: OCIContainer, text: bytes) -> bytes:
    """What the program answers to one line."""
    assert container.stdin is not None
    assert container.stdout is not None
    os.write(container.stdin, text)
    return os.read(container.stdout, 100)


@pytest.mark.interop
@pytest.mark.root
def test_from_memory_to_disk_and_back(kind: OCIRuntime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """What a program knew it knows again, in the same namespaces and limits, with other pipes."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("from outside")
    mount = Mount(destination="/data", type="bind", source=str(outside), options=("rbind", "ro"))
    bundle = changed(bundle, mounts=(*bundle.spec.mounts, mount))
    bundle.save()
    before = kind.create("one", bundle, REMEMBER, stdin=-1, stdout=-1, stderr=-3)
    before.start()
    assert say(before, b"a\n") == b"6 a\n"
    options = CheckpointOptions(image_path=str(tmp_path / "images"), work_path=str(tmp_path / "work"))
    before.checkpoint(options)
    assert before.wait(timeout=60) == -9
    assert before.status == "stopped"
    before.delete()
    bundle = with_process(bundle, args=tuple(REMEMBER))
    bundle.save()
    after = kind.restore(
        "one", bundle, RestoreOptions(image_path=str(tmp_path / "images")), stdin=-1, stdout=-1, stderr=-3
    )
    assert after.status == "running"
    assert say(after, b"b\n") == b"7 b\n"
    seen = after.exec(["cat", "/data/file", "/proc/self/cgroup"], timeout=60).stdout
    assert seen.startswith(b"from outside")
    assert seen.endswith(b"0::/\n")
    after.kill("KILL")
    assert after.wait(timeout=60) == -9
    after.delete()
    assert kind.list() == ()


@pytest.mark.interop
@pytest.mark.root
@pytest.mark.usefixtures("works")
def test_on_another_terminal(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """The program finds its terminal as it left it; somebody else sits at the other end."""
    bundle = with_process(bundle, terminal=True, args=tuple(REMEMBER))
    before = runtime.create("seen", bundle)
    before.start()
    assert typed(before, b"a\n") == b"a\r\n6 a\r\n"
    before.checkpoint(CheckpointOptions(image_path=str(tmp_path / "images")))
    before.delete(force=True)
    after = runtime.restore("seen", bundle, RestoreOptions(image_path=str(tmp_path / "images")))
    assert typed(after, b"b\n") == b"b\r\n7 b\r\n"
    assert after.exec(["readlink", "/proc/1/fd/0"], timeout=60).stdout == b"/dev/pts/0\n"
    assert after.console is not None
    after.console.close()
    assert after.wait(timeout=60) == 0  # the end of its input
    after.delete()


def typed(container: Container, text: bytes) -> bytes:
    """What is to be seen after a line was typed: an echo and an answer."""
    console = container.console
    assert console is not None
    console.write(text)
    seen = b""
    while seen.count(b"\n") < 2:
        seen += console.read()
    return seen


@pytest.mark.interop
@pytest.mark.root
@pytest.mark.usefixtures("works")
def test_in_a_scope_and_a_user_namespace(bundle: spec.Bundle, tmp_path: Path) -> None:
    """The unit is there again, with its limits, and nobody but root of the namespace is let to the images."""
    if not manager.booted():
        pytest.skip("needs systemd")
    bundle = with_process(remapped_box(bundle), args=tuple(REMEMBER))
    boxed = with_linux(bundle, cgroups_path="system.slice:box:back", resources=Resources(pids=Pids(limit=50)))
    images = tmp_path / "images"
    with Runtime(tmp_path / "root", systemd_cgroup=True) as runtime:
        before = runtime.create("back", boxed, stdin=-1, stdout=-1, stderr=-3)
        before.start()
        assert say(before, b"a\n") == b"6 a\n"
        before.checkpoint(CheckpointOptions(image_path=str(images)))
        before.delete(force=True)
        owner = images.stat()
        given = RestoreOptions(image_path=str(images))
        with runtime.restore("back", boxed, given, stdin=-1, stdout=-1, stderr=-3) as after:
            assert say(after, b"b\n") == b"7 b\n"
            assert Path(f"/proc/{after.pid}").stat().st_uid == FIRST
            assert "/system.slice/box-back.scope" in Path(f"/proc/{after.pid}/cgroup").read_text()
            assert limit("box-back.scope") == "TasksMax=50\n"
        found = images.stat()
        assert (found.st_mode, found.st_gid) == (owner.st_mode, owner.st_gid)
        assert stat.S_IMODE(found.st_mode) == 0o700
        assert "not-found" in subprocess.check_output(["systemctl", "show", "box-back.scope"], text=True)


def limit(unit: str) -> str:
    return subprocess.check_output(["systemctl", "show", "-p", "TasksMax", unit], text=True)


@pytest.mark.interop
@pytest.mark.root
@pytest.mark.usefixtures("works")
def test_in_steps(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """A pre-dump leaves it running, the next one builds on it; a failed restore says why and leaves nothing."""
    container = runtime.create("steps", bundle, REMEMBER, stdin=-1, stdout=-1, stderr=-3)
    container.start()
    images = tmp_path / "images"
    images.mkdir()
    container.checkpoint(CheckpointOptions(image_path=str(images / "first"), pre_dump=True))
    assert say(container, b"a\n") == b"6 a\n"
    options = CheckpointOptions(image_path=str(images / "second"), parent_path="../first", leave_running=True)
    container.checkpoint(options)
    assert say(container, b"b\n") == b"7 b\n"
    assert (images / "second/parent").is_symlink()
    with pytest.raises(errors.ContainerExists):
        runtime.restore("steps", container_bundle(bundle), RestoreOptions(image_path=str(images / "second")))
    container.delete(force=True)
    shutil.rmtree(images / "first")
    with pytest.raises(errors.CheckpointFailed, match="restore of container steps") as caught:
        runtime.restore("steps", container_bundle(bundle), RestoreOptions(image_path=str(images / "second")))
    assert Path(caught.value.log).exists()
    assert runtime.list() == ()


@pytest.mark.interop
@pytest.mark.root
def test_in_steps_with_users(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """Root of a user namespace finds the earlier images, too; nobody else, and only meanwhile."""
    bundle = with_process(remapped_box(bundle), args=tuple(REMEMBER))
    container = runtime.create("steps", bundle, stdin=-1, stdout=-1, stderr=-3)
    container.start()
    images = tmp_path / "images"
    images.mkdir(mode=0o700)
    places = (images, images / "first", images / "second")
    container.checkpoint(CheckpointOptions(image_path=str(places[1]), pre_dump=True))
    assert say(container, b"a\n") == b"6 a\n"
    container.checkpoint(CheckpointOptions(image_path=str(places[2]), parent_path="../first"))
    container.delete(force=True)
    before = [(place.stat().st_mode, place.stat().st_gid) for place in places]
    given = RestoreOptions(image_path=str(places[2]))
    with runtime.restore("steps", bundle, given, stdin=-1, stdout=-1, stderr=-3) as after:
        assert say(after, b"b\n") == b"7 b\n"
        assert Path(f"/proc/{after.pid}").stat().st_uid == FIRST
    assert [(place.stat().st_mode, place.stat().st_gid) for place in places] == before


def container_bundle(bundle: spec.Bundle) -> spec.Bundle:
    """The bundle with the command of the container that was checkpointed."""
    return with_process(bundle, args=tuple(REMEMBER))


@pytest.mark.interop
@pytest.mark.root
def test_owners_of_a_mount_on_disk_and_back(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """Binds with IDs of their own have them again, a file as well as a directory."""
    source = tmp_path / "source"
    source.mkdir()
    subprocess.check_call(
        ["mount", "-t", "tmpfs", "owners", str(source)]
    )  # the machine's root takes no such IDs
    try:
        (source / "file").write_text("mine")
        ids = (IDMapping(container_id=0, host_id=5000, size=10),)
        mounts = [
            Mount(
                destination=at,
                type="bind",
                source=str(of),
                options=("rbind",),
                uid_mappings=ids,
                gid_mappings=ids,
            )
            for at, of in (("/data", source), ("/one", source / "file"))
        ]
        there = with_process(changed(bundle, mounts=(*bundle.spec.mounts, *mounts)), args=tuple(REMEMBER))
        before = runtime.create("owners", there, stdin=-1, stdout=-1, stderr=-3)
        before.start()
        owners = ["stat", "-c", "%u %g", "/data/file", "/one"]
        assert before.exec(owners, timeout=60).stdout == b"5000 5000\n" * 2
        assert say(before, b"a\n") == b"6 a\n"
        before.checkpoint(CheckpointOptions(image_path=str(tmp_path / "images")))
        before.delete(force=True)
        given = RestoreOptions(image_path=str(tmp_path / "images"))
        with runtime.restore("owners", there, given, stdin=-1, stdout=-1, stderr=-3) as after:
            assert say(after, b"b\n") == b"7 b\n"
            assert after.exec(owners, timeout=60).stdout == b"5000 5000\n" * 2
    finally:
        subprocess.check_call(["umount", str(source)])


@pytest.mark.interop
@pytest.mark.root
@pytest.mark.usefixtures("works")
def test_held_in_a_pod(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """Namespaces of a pod are joined again; on an overlay, paused at first, under another name and in another group.

    Images that make more than the configuration has are ended before anything runs.
    """
    options = CheckpointOptions(image_path=str(tmp_path / "images"), leave_running=True)
    with pinned(tmp_path / "pins") as namespaces, contextlib.ExitStack() as stack:
        before = runtime.create(
            "one", in_pod(bundle, namespaces, tmp_path / "one"), detach=Detach(stdin=True)
        )
        stack.callback(before.delete, force=True)
        before.start()
        assert exchanged(before, b"a\n") == b"6 a\n"
        before.pause()
        before.checkpoint(options)
        shutil.copytree(tmp_path / "one/upper", tmp_path / "two/upper", symlinks=True)
        before.resume()
        uts = next(namespace.path for namespace in namespaces if namespace.type == "uts")
        subprocess.check_call(["nsenter", f"--uts={uts}", "hostname", "renamed"])
        assert exchanged(before, b"b\n") == b"7 b\n"
        given = RestoreOptions(image_path=str(tmp_path / "images"), paused=True, untrusted=True)
        narrow = with_process(in_pod(bundle, namespaces, tmp_path / "narrow"), capabilities=Capabilities())
        with pytest.raises(errors.CheckpointFailed, match="beyond the configuration: CapBnd"):
            runtime.restore("narrow", narrow, given, detach=Detach(stdin=True))
        assert [each.id for each in runtime.list()] == ["one"]
        again = in_pod(bundle, namespaces, tmp_path / "two")
        after = runtime.restore("two", again, given, detach=Detach(log=str(tmp_path / "log"), stdin=True))
        stack.callback(after.delete, force=True)
        assert after.status == "paused"
        after.resume()
        assert exchanged(after, b"c\n") == b"7 c\n"
        assert Path(f"/proc/{after.pid}/cgroup").read_text().rstrip().endswith("/two")
        for namespace in namespaces:
            name = "net" if namespace.type == "network" else namespace.type
            assert Path(f"/proc/{after.pid}/ns/{name}").stat().st_ino == os.stat(namespace.path or "").st_ino
        assert "NoNewPrivs:\t1" in Path(f"/proc/{after.pid}/status").read_text()
        assert after.exec(["cat", "/known"], timeout=60).stdout == b"to the overlay\n"
        assert after.exec(["hostname"], timeout=60).stdout == b"renamed\n"
        with after.attach(stdin=True) as attached:
            attached.close_stdin()
            assert list(attached) == []
        assert after.wait(timeout=60) == 7
        assert [record.data for record in after.logs()] == [b"7 c\n"]
        after.delete()


def exchanged(container: OCIContainer, text: bytes) -> bytes:
    """What the program of a detached container answers to one line."""
    with container.attach(stdin=True) as attached:
        attached.write(text)
        return read_until(attached, b"\n")


@contextlib.contextmanager
def pinned(directory: Path) -> Iterator[tuple[Namespace, ...]]:
    """Namespaces of a pod, bound to files."""
    directory.mkdir()
    holder = subprocess.Popen(
        ["unshare", "-n", "-i", "-u", "sh", "-c", "echo there; read x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        for name in ("net", "ipc", "uts"):
            (directory / name).touch()
            subprocess.check_call(["mount", "--bind", f"/proc/{holder.pid}/ns/{name}", str(directory / name)])
        holder.communicate(b"\n")
    try:
        kinds = (("network", "net"), ("ipc", "ipc"), ("uts", "uts"))
        yield tuple(Namespace(type=kind, path=str(directory / name)) for kind, name in kinds)
    finally:
        for name in ("net", "ipc", "uts"):
            subprocess.check_call(["umount", str(directory / name)])


def in_pod(bundle: spec.Bundle, namespaces: tuple[Namespace, ...], place: Path) -> OverlayBundle:
    """The bundle in these namespaces, on an overlay."""
    for name in ("upper", "work", "root", "bundle"):
        (place / name).mkdir(parents=True, exist_ok=True)
    script = "echo to the overlay >/known; " + REMEMBER[2] + "; exit 7"
    unnamed = with_process(changed(bundle, hostname=None), args=("sh", "-c", script))
    linux, root = unnamed.spec.linux, unnamed.spec.root
    assert linux is not None
    assert root is not None
    joined = {namespace.type for namespace in namespaces}
    own = tuple(namespace for namespace in linux.namespaces if namespace.type not in joined)
    configuration = attrs.evolve(
        unnamed.spec,
        root=attrs.evolve(root, path=str(place / "root")),
        linux=attrs.evolve(linux, namespaces=(*own, *namespaces), cgroups_path=f"/pod/{place.name}"),
    )
    layers = RootfsOverlay(
        lowers=(str(bundle.rootfs),), upper=str(place / "upper"), work=str(place / "work"), volatile=True
    )
    return OverlayBundle(place / "bundle", configuration, layers)
