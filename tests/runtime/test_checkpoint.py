"""Checkpoint and restore: what criu is asked for, here; that it works, where this kernel or a virtual machine can."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks.runtime import (
    CheckpointOptions,
    OCIContainer,
    OCIRuntime,
    RestoreOptions,
    Runtime,
    RuntimeBinary,
    checkpoint,
)
from ociworks.spec.runtime import Mount, Namespace
from tests.interop.peers import peer
from tests.runtime.boxes import changed, with_linux, with_process
from tests.runtime.commands import program

REMEMBER = ["sh", "-c", "i=5; while read x; do i=$((i+1)); echo $i $x; done"]


@pytest.fixture
def no_criu_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "criu", lambda: "/usr/sbin/criu")
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.mark.usefixtures("no_criu_needed")
def test_what_criu_is_asked_for(bundle: spec.Bundle, tmp_path: Path) -> None:
    """Each option is its flag; mounts from outside are named on both sides by their destination."""
    mount = Mount(destination="/data/", type="bind", source="relative", options=("rbind",))
    there = changed(bundle, mounts=(*bundle.spec.mounts, mount))
    options = CheckpointOptions(
        image_path="/images",
        work_path="/aside",
        parent_path="../before",
        leave_running=True,
        tcp_established=True,
        ext_unix_sk=True,
        shell_job=True,
        file_locks=True,
        lazy_pages=True,
        auto_dedup=True,
        manage_cgroups_mode="strict",
        empty_ns=("network",),
        status_fd=9,
        page_server="10.0.0.1:99",
    )
    command = " ".join(checkpoint.dump_command(options, there.spec, os.getpid(), "/freezer", 3))
    for flags in (
        f"dump --tree {os.getpid()} --images-dir /images --work-dir /aside --log-file dump.log",
        "--manage-cgroups=strict",
        "--tcp-established --ext-unix-sk --shell-job --file-locks --lazy-pages --auto-dedup",
        "--empty-ns net",
        "--leave-running --freeze-cgroup /freezer --prev-images-dir ../before --track-mem --status-fd 3",
        "--page-server --address 10.0.0.1 --port 99",
        "--external mnt[/data]:/data",
    ):
        assert flags in command
    pre_dump = CheckpointOptions(image_path="/images", pre_dump=True, leave_running=True)
    command = " ".join(checkpoint.dump_command(pre_dump, there.spec, os.getpid(), "", -1))
    assert "criu pre-dump" in command
    assert "--track-mem" in command
    assert "--leave-running" not in command
    checkpoint.save_streams(str(tmp_path), os.getpid())
    (tmp_path / "descriptors.json").write_text('["/dev/null", "pipe:[7]", "pipe:[8]"]')
    joined = Namespace(type="network", path="/proc/self/ns/net")
    there = with_linux(there, namespaces=(Namespace(type="mount"), joined))
    given = RestoreOptions(image_path=str(tmp_path), lsm_profile="apparmor:x", lsm_mount_context="c")
    words, files = checkpoint.restore_command(
        given, there.spec, str(bundle.path), root="/r", pid_file="/p", first_fd=3
    )
    command = " ".join(words)
    for flags in (
        "--restore-detached --restore-sibling --pidfile /p --root /r",
        "--lsm-profile apparmor:x --lsm-mount-context c",
        f"--external mnt[/data]:{bundle.path}/relative",
        "--external mnt[/proc/kcore]:/dev/null",
        "--inherit-fd fd[1]:pipe:[7] --inherit-fd fd[2]:pipe:[8]",
        "--inherit-fd fd[3]:extRootNetNS",
    ):
        assert flags in command
    assert files == ("/proc/self/ns/net",)


@pytest.mark.usefixtures("no_criu_needed")
def test_what_is_refused(bundle: spec.Bundle) -> None:
    """What the command line of criu cannot do, before anything happens."""
    options = CheckpointOptions(image_path="/images")
    user = with_linux(bundle, namespaces=(Namespace(type="user"), Namespace(type="mount")))
    joined = with_linux(bundle, namespaces=(Namespace(type="mount"), Namespace(type="ipc", path="/x")))
    for wrong in (with_process(bundle, terminal=True), user, joined):
        with pytest.raises(errors.NotSupported):
            checkpoint.dump_command(options, wrong.spec, os.getpid(), "", -1)
    for names in (("ipc",), ("net", "pid")):
        with pytest.raises(errors.NotSupported, match="network only"):
            checkpoint.dump_command(
                CheckpointOptions(image_path="/i", empty_ns=names), bundle.spec, os.getpid(), "", -1
            )


def test_flags_for_other_programs() -> None:
    """The same options as flags of runc's verbs; what is not asked for is not there."""
    assert checkpoint.flags(RestoreOptions(image_path="/i")) == (
        "--image-path",
        "/i",
        "--manage-cgroups-mode",
        "soft",
    )
    options = CheckpointOptions(image_path="/i", leave_running=True, empty_ns=("network",), status_fd=3)
    assert " ".join(checkpoint.flags(options)) == (
        "--image-path /i --leave-running --manage-cgroups-mode soft --empty-ns network --status-fd 3"
    )


def test_a_checkpoint_that_is_none(tmp_path: Path) -> None:
    """Streams that were not written down are one clear error."""
    for content in (None, "", "{", "7"):
        if content is not None:
            (tmp_path / "descriptors.json").write_text(content)
        with pytest.raises(errors.CheckpointFailed, match="expected"):
            checkpoint.load_streams(str(tmp_path))
    assert "no log" in checkpoint.reason(str(tmp_path), "dump.log")
    (tmp_path / "dump.log").write_bytes(
        b"(00.1) Error (criu/x.c:1): first\n(00.2) fine\n\xff Error (criu/y.c:2): last\n"
    )
    assert checkpoint.reason(str(tmp_path), "dump.log").count("Error (criu/") == 2


# --- where criu works -----------------------------------------------------------------------------------


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


@pytest.fixture(params=["ours", "ociworks-runtime", "runc"])
def kind(request: pytest.FixtureRequest, works: None, tmp_path: Path) -> Iterator[OCIRuntime]:
    root = tmp_path / "state"
    if request.param == "ours":
        with Runtime(root) as ours:
            yield ours
        return
    other_program = program(tmp_path) if request.param == "ociworks-runtime" else peer("runc")
    with RuntimeBinary(other_program, root) as other:
        yield other


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
    assert after.exec(["cat", "/data/file"], timeout=60).stdout == b"from outside"
    assert after.exec(["cat", "/proc/self/cgroup"], timeout=60).stdout.endswith(b"0::/\n")
    after.kill("KILL")
    assert after.wait(timeout=60) == -9
    after.delete()
    assert kind.list() == ()


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


def container_bundle(bundle: spec.Bundle) -> spec.Bundle:
    """The bundle with the command of the container that was checkpointed."""
    return with_process(bundle, args=tuple(REMEMBER))
