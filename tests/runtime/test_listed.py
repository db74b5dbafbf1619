"""First processes by a list of system calls: the same comes of them as of an interpreter, and when there is none."""

from __future__ import annotations

import logging
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from ociworks import errors, spec
from ociworks._linux import calls
from ociworks.runtime import Runtime
from ociworks.runtime._host import Host
from ociworks.runtime._listed.first import _written
from ociworks.runtime._listed.mounting import OPERATIONS
from ociworks.runtime.launcher import SpawnRequest
from ociworks.runtime.overlay import OverlayBundle, RootfsOverlay
from ociworks.spec.runtime import Capabilities, Device, Mount, Personality, Rlimit, Root, User
from tests.runtime.boxes import changed, descendants, is_runner, with_linux, with_process

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0, reason="needs root: without it, plans have user namespaces and no list"
    ),
    pytest.mark.skipif(not calls.SUPPORTED, reason="there is no program for lists on this architecture"),
]

FACTS = """
cat /proc/self/mountinfo; echo --
id; umask; pwd; ulimit -a; cat /proc/self/cgroup; cat /proc/self/oom_score_adj; hostname; env; ip addr show dev lo
cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward /proc/self/personality
ls -l /proc/self/ns | grep -o "[a-z_]*:"; grep -o "([a-z]*) [A-Z] [0-9]* [0-9]* [0-9]*" /proc/1/stat
cat /proc/keys /proc/timer_list; ls /proc/acpi /sys/firmware
ls -lan / /dev /dev/pts /dev/shm /proc/self/fd /layered | grep -v -e total -e " \\.$" -e " \\.\\.$"
grep -v -e ^Pid -e ^Vm -e ^Rss -e ctxt_switches -e ^NS -e ^Tgid -e ^PPid -e ^SigQ /proc/self/status
"""


def facts(runtime: Runtime, bundle: spec.Bundle) -> list[str]:
    """What a program finds in a container, without what is another in each."""
    done = runtime.run(bundle, ["sh", "-c", FACTS], capture_output=True, timeout=60)
    text = done.stdout.decode().replace(done.container_id, "ID")
    text = re.sub(r"^(d\S+) +\d+", r"\1", text, flags=re.MULTILINE)  # links: as many as there are processes
    text = re.sub(r"^\((\w+)\) [RSD]", r"\1", text, flags=re.MULTILINE)  # whether it runs just now
    text = re.sub(r"\b(pipe|socket):\[\d+\]|\d+:\d\d(:\d\d)?\b", "N", text)
    mounts, _, rest = text.partition("--\n")
    return [*map(without_numbers, mounts.splitlines()), *rest.splitlines()]


def without_numbers(line: str) -> str:
    """A line of mountinfo without those of mounts, devices, peer groups and descriptors.

    What an overlay says of its identity is said at its first mount alone.
    """
    _, _, _, rest = line.split(" ", 3)
    return re.sub(r"(shared:|master:|/fd/)\d+", r"\1", rest).replace(",uuid=on", "")


def older(*version: int) -> bool:
    """Whether the kernel is."""
    return tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) < version


def used(runtime: Runtime) -> bool:
    """Whether the last plan was carried out as a list."""
    lists = runtime._host.lists()
    assert lists is not None
    return bool([*lists._known.values()][-1])


def with_mounts(bundle: spec.Bundle, *mounts: Mount) -> spec.Bundle:
    return changed(bundle, mounts=(*bundle.spec.mounts, *mounts))


def plain(bundle: spec.Bundle) -> spec.Bundle:
    return bundle


def places(bundle: spec.Bundle) -> spec.Bundle:
    """Binds of files and directories on what is there and what is not, deep and shallow; other file systems."""
    source = bundle.path / "source"
    (source / "below").mkdir(parents=True)
    (source / "file").write_text("content")
    return with_mounts(
        bundle,
        Mount(destination="/tmp", type="bind", source=str(source), options=("rbind", "ro", "nosuid")),
        Mount(destination="/some/where/new", type="bind", source=str(source), options=("bind", "rslave")),
        Mount(destination="/etc/file", type="bind", source=str(source / "file"), options=("bind", "rro")),
        Mount(destination="/a/file", type="bind", source=str(source / "file"), options=("bind", "noexec")),
        Mount(destination="/run", type="tmpfs", source="run", options=("mode=700", "size=1m", "shared")),
        Mount(destination="/run/deep/er", type="tmpfs", source="none", options=("mode=755", "ro", "noatime")),
    )


def names(bundle: spec.Bundle) -> spec.Bundle:
    """Names, settings, and a root that cannot be written."""
    named = changed(bundle, hostname="listed", domainname="example", root=Root(path="rootfs", readonly=True))
    return with_linux(named, sysctl={"net.ipv4.ip_forward": "1"}, rootfs_propagation="slave")


def process(bundle: spec.Bundle) -> spec.Bundle:
    """Everything about the process."""
    sets = ("CAP_KILL", "CAP_CHOWN")
    rich = with_process(
        bundle,
        user=User(uid=7, gid=8, umask=0o77, additional_gids=(9, 10)),
        cwd="/made/for/it",
        env=("A=1", "B=2", "A=3", "PATH=/bin", "HOME=/"),
        capabilities=Capabilities(bounding=sets, permitted=sets[:1], inheritable=sets[:1], ambient=sets[:1]),
        rlimits=(
            Rlimit(type="RLIMIT_NOFILE", soft=100, hard=200),
            Rlimit(type="RLIMIT_CORE", soft=0, hard=0),
            Rlimit(type="RLIMIT_STACK", soft=2**64 - 1, hard=2**64 - 1),
        ),
        oom_score_adj=500,
        no_new_privileges=False,
    )
    return with_linux(rich, personality=Personality(domain="LINUX"))


def shared(bundle: spec.Bundle) -> spec.Bundle:
    """The host's network, its IPC and its control groups."""
    assert bundle.spec.linux is not None
    kept = tuple(each for each in bundle.spec.linux.namespaces if each.type in ("pid", "mount", "uts"))
    bare = with_linux(bundle, namespaces=kept)
    return changed(bare, mounts=tuple(mount for mount in bare.spec.mounts if mount.type != "sysfs"))


def devices(bundle: spec.Bundle) -> spec.Bundle:
    """Others than the usual, in a ``/dev`` that nobody can write afterwards."""
    mine = (
        Device(path="/dev/mine", type="c", major=1, minor=5, file_mode=0o640, uid=3, gid=4),
        Device(path="/dev/below/fifo", type="p", file_mode=0o600),
    )
    sealed = tuple(
        evolve(mount, options=(*mount.options, "ro")) if mount.destination == "/dev" else mount
        for mount in bundle.spec.mounts
    )
    return with_linux(changed(bundle, mounts=sealed), devices=mine)


def layers(bundle: spec.Bundle) -> spec.Bundle:
    """An overlay as root."""
    folders = [bundle.path / name for name in ("upper", "work", "second", "top", "merged")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    upper, work, second, top, merged = map(str, folders)
    (bundle.path / "second/layered").write_text("below")
    (bundle.path / "top/layered").write_text("above")
    overlay = RootfsOverlay(lowers=(top, second, str(bundle.rootfs)), upper=upper, work=work)
    return OverlayBundle(bundle.path, evolve(bundle.spec, root=Root(path=merged)), overlay=overlay)


def one_layer(bundle: spec.Bundle) -> spec.Bundle:
    """A single directory, which is no overlay."""
    merged = bundle.path / "merged"
    merged.mkdir()
    overlay = RootfsOverlay(lowers=(str(bundle.rootfs),))
    return OverlayBundle(bundle.path, evolve(bundle.spec, root=Root(path=str(merged))), overlay=overlay)


VARIANTS: tuple[Callable[[spec.Bundle], spec.Bundle], ...] = (
    *(plain, places, names, process, shared, devices),
    *(layers, one_layer),
)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.__name__)
def test_both_ways_are_one(
    runtime: Runtime,
    bundle: spec.Bundle,
    variant: Callable[[spec.Bundle], spec.Bundle],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mounts, identity, limits, names, devices: whatever can be seen from inside."""
    made = variant(bundle)
    listed = [facts(runtime, made) for _ in range(2)]
    assert used(runtime) or (variant is layers and older(6, 8))
    monkeypatch.setattr(Host, "lists", lambda _: None)
    interpreted = facts(runtime, made)
    assert listed[0] == interpreted
    assert listed[1] == interpreted


@pytest.mark.skipif(older(6, 8), reason="overlays take one directory after the other from Linux 6.8 on")
def test_a_volatile_overlay(runtime: Runtime, bundle: spec.Bundle) -> None:
    """It can be used once."""
    made = layers(bundle)
    assert isinstance(made, OverlayBundle)
    volatile = OverlayBundle(made.path, made.spec, overlay=evolve(made.overlay, volatile=True))
    assert any("overlay" in line and "volatile" in line for line in facts(runtime, volatile))
    assert used(runtime)


def test_every_operation_is_compared(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """What a list can say, one of the plans above says, or an exec does."""
    planned: set[str] = set()
    for variant in VARIANTS:
        folder = tmp_path / variant.__name__
        (folder / "rootfs").mkdir(parents=True)
        made = variant(spec.Bundle.create(folder, bundle.spec))
        planned |= {operation.name for operation in runtime.plan(made).operations}
    assert {*OPERATIONS} - planned <= {"cpu_affinity", "outlive", "own_streams"}


def test_what_is_otherwise_than_expected(
    runtime: Runtime, bundle: spec.Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    """A list gives up, an interpreter does it all, and from then on at once."""
    (bundle.rootfs / "run").mkdir()
    (bundle.rootfs / "var").mkdir()
    (bundle.rootfs / "var/run").symlink_to("/run")
    linked = with_mounts(
        bundle, Mount(destination="/var/run/x", type="tmpfs", source="x", options=("mode=700",))
    )
    with caplog.at_level(logging.DEBUG, "ociworks.runtime"):
        for _ in range(2):
            done = runtime.run(
                linked, ["sh", "-c", "mount | grep -c /run/x"], capture_output=True, timeout=60
            )
            assert done.stdout == b"1\n"
    given_up = [record for record in caplog.records if "gave up" in record.getMessage()]
    assert len(given_up) == 1
    assert "filesystem: errno 40" in given_up[0].getMessage()
    assert not used(runtime)


@pytest.mark.parametrize(
    ("broken", "error", "said"),
    [
        (lambda made: with_process(made, args=("/no/such/program",)), errors.CommandNotFound, "no such file"),
        (lambda made: with_process(made, cwd="/etc/passwd"), errors.CreateFailed, "/etc/passwd"),
        (
            lambda made: with_mounts(made, Mount(destination="/tmp", type="tmpfs", options=("size=x",))),
            errors.CreateFailed,
            "size",
        ),
        (
            lambda made: with_mounts(
                made, Mount(destination="/tmp", type="bind", source="/not/there", options=("bind",))
            ),
            errors.OciworksError,
            "/not/there",
        ),
    ],
    ids=["program", "cwd", "option", "source"],
)
def test_failures_are_told_as_ever(
    runtime: Runtime,
    bundle: spec.Bundle,
    broken: Callable[[spec.Bundle], spec.Bundle],
    error: type[errors.OciworksError],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the words of the interpreter, with its step."""
    made = broken(bundle)
    told = []
    for _ in range(2):
        with pytest.raises(error, match=said) as caught:
            runtime.run(made, timeout=60)
        told.append(str(caught.value))
        monkeypatch.setattr(Host, "lists", lambda _: None)
    assert told[0] == told[1]


def runners(runtime: Runtime) -> set[int]:
    """What its launcher made ahead."""
    return {pid for pid in descendants(runtime._host.launcher().pid) if is_runner(pid)}


def waiting_runner(runtime: Runtime) -> int:
    """The one that its launcher makes ahead, as soon as it is there."""
    deadline = time.monotonic() + 60
    while not (found := runners(runtime)):
        assert time.monotonic() < deadline
        os.sched_yield()
    return found.pop()


def test_a_runner_that_was_killed(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The next container does without."""
    assert runtime.run(bundle, ["true"], timeout=60).returncode == 0
    os.kill(waiting_runner(runtime), signal.SIGKILL)
    assert runtime.run(bundle, ["true"], timeout=60).returncode == 0
    assert runtime.run(bundle, ["false"], timeout=60).returncode == 1
    assert used(runtime)


def test_a_runner_has_nothing_of_ours(runtime: Runtime, bundle: spec.Bundle) -> None:
    """One descriptor, a few pages, and it is in no container's way."""
    assert runtime.run(bundle, ["true"], timeout=60).returncode == 0
    runner = waiting_runner(runtime)
    until_it_waits(runner)
    assert os.listdir(f"/proc/{runner}/fd") == ["0"]
    resident = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{runner}/status").read_text())
    assert resident is not None
    assert int(resident[1]) < 200
    assert os.readlink(f"/proc/{runner}/ns/net") != os.readlink("/proc/self/ns/net")
    runtime.close()
    assert not Path(f"/proc/{runner}").exists()


def until_it_waits(runner: int) -> None:
    """Until it sleeps in recvmsg(2)."""
    deadline = time.monotonic() + 60
    while " S " not in Path(f"/proc/{runner}/stat").read_text():
        assert time.monotonic() < deadline
        os.sched_yield()


def test_lists_are_written_once(
    runtime: Runtime, bundle: spec.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the container's name is another one, and what the plan says is what a list is known by."""
    written: list[str] = []

    def noted(request: SpawnRequest, pipes: tuple[bool, ...]) -> bytes | None:
        written.append(request.name)
        return _written(request, pipes)

    monkeypatch.setattr("ociworks.runtime._listed.first._written", noted)
    for args in (["true"], ["true"], ["false"], ["true"]):
        runtime.run(bundle, args, timeout=60)
    assert len(written) == 2
