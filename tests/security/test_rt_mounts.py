"""Attacks on the mounts of a container (RT-10 to RT-19)."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks.runtime import Runtime, plan
from ociworks.runtime._init import targets
from ociworks.runtime._init.context import Context, StepError
from ociworks.runtime.plan.options import KNOWN_OPTIONS, parse_options
from ociworks.spec.runtime import Mount
from tests.runtime.boxes import changed, look, mounted, with_linux
from tests.security.mounts import bind, tmpfs

RENAMEAT2 = ctypes.CDLL(None).renameat2
AT_FDCWD = -100
EXCHANGE = 2

pytestmark = pytest.mark.root


def unproced(bundle: spec.Bundle) -> spec.Bundle:
    """Without a procfs, and what is protected in it."""
    mounts = tuple(mount for mount in bundle.spec.mounts if mount.type != "proc")
    return with_linux(changed(bundle, mounts=mounts), masked_paths=(), readonly_paths=())


@contextlib.contextmanager
def swapping(place: Path, outside: Path) -> Iterator[None]:
    """A directory that is a link to the outside every other moment."""
    stop = threading.Event()
    link = place.with_name(f"{place.name}.link")
    link.symlink_to(outside)

    def swap() -> None:
        while not stop.is_set():
            RENAMEAT2(AT_FDCWD, os.fsencode(place), AT_FDCWD, os.fsencode(link), EXCHANGE)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        if place.is_symlink():
            RENAMEAT2(AT_FDCWD, os.fsencode(place), AT_FDCWD, os.fsencode(link), EXCHANGE)


PROC = [
    "/proc",
    "/proc/self/attr",
    "/proc/sys",
    "/proc/1",
    "/proc/../proc/self",
    "//proc/./sys",
    "/link",
    "/link/sys",
]


@pytest.mark.parametrize("target", PROC)
@pytest.mark.parametrize("order", ["after", "before", "without"])
def test_rt_10_nothing_covers_proc(
    runtime: Runtime, bundle: spec.Bundle, tmp_path: Path, target: str, order: str
) -> None:
    """By the name without links and by the file system; whether procfs is mounted before, after, or not at all."""
    (bundle.rootfs / "link").symlink_to("proc")
    (bundle.rootfs / "proc/self/attr").mkdir(parents=True)
    for name in ("sys", "1"):
        (bundle.rootfs / "proc" / name).mkdir()
    for mount in (tmpfs(target), bind(tmp_path, target), bind("/proc/self/status", target)):
        mounts = {
            "after": (*bundle.spec.mounts, mount),
            "before": (mount, *bundle.spec.mounts),
            "without": (*unproced(bundle).spec.mounts, mount),
        }
        with pytest.raises(errors.CreateFailed):
            runtime.create("covered", changed(bundle, mounts=mounts[order]))


def test_rt_10_what_may_be_covered(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """Files that tell about the machine, procfs by procfs, and a procfs elsewhere."""
    (tmp_path / "told").write_text("told\n")
    mounts = (
        bind(tmp_path / "told", "/proc/uptime"),
        bind(tmp_path / "told", "/proc/sys/../cpuinfo"),
        Mount(destination="/elsewhere", type="proc", source="proc"),
    )
    script = "cat /proc/uptime /proc/cpuinfo; readlink /elsewhere/self"
    assert look(runtime, mounted(bundle, *mounts), script)[:2] == ["told", "told"]
    again = mounted(unproced(bundle), bind("/proc", "/proc", "ro"))
    assert look(
        runtime, with_linux(again, masked_paths=(), readonly_paths=()), "test -e /proc/stat && echo y"
    ) == ["y"]


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("kind", ["link", "file", "dangling"])
def test_rt_10_kernel_file_systems_on_real_directories(
    runtime: Runtime, bundle: spec.Bundle, outside: Path, name: str, kind: str
) -> None:
    """A link or a file in the place of /proc or /sys is an error."""
    place = bundle.rootfs / name
    place.rmdir()
    if kind == "file":
        place.write_text("")
    else:
        place.symlink_to(outside if kind == "link" else "/no/where")
    with pytest.raises(errors.CreateFailed) as caught:
        runtime.create("link", bundle)
    assert caught.value.path == f"/{name}"


def test_rt_11_targets_that_move(
    runtime: Runtime, bundle: spec.Bundle, outside: Path, tmp_path: Path
) -> None:
    """While somebody exchanges a directory of a shared volume for a link, no mount lands outside."""
    volume = tmp_path / "volume"
    (volume / "a/b").mkdir(parents=True)
    hostile = mounted(bundle, bind(volume, "/vol"), tmpfs("/vol/a/b"), tmpfs("/vol/a/new"))
    before = Path("/proc/self/mountinfo").read_text()
    with swapping(volume / "a", outside):
        for _ in range(60):
            with contextlib.suppress(errors.CreateFailed):
                done = runtime.run(hostile, ["cat", "/proc/self/mountinfo"], capture_output=True, timeout=60)
                points = {line.split()[4] for line in done.stdout.decode().splitlines()}
                assert {point.split("/")[1] for point in points} <= {
                    "",
                    "proc",
                    "dev",
                    "sys",
                    "vol",
                    "outside",
                    "tmp",
                }
    assert str(outside) not in Path("/proc/self/mountinfo").read_text().replace(before, "")


@pytest.mark.parametrize("last", ["directory", "file"])
def test_rt_13_places_are_made_inside(tmp_path: Path, outside: Path, last: str) -> None:
    """Thousands of places below a directory that moves: nothing is made outside, nothing written."""
    root = tmp_path / "rootfs"
    (root / "a").mkdir(parents=True)
    context = Context.__new__(Context)
    context.root = os.open(root, os.O_PATH | os.O_DIRECTORY)
    make = targets.directory if last == "directory" else targets.file
    try:
        with swapping(root / "a", outside):
            for number in range(3000):
                with contextlib.suppress(OSError, StepError):
                    os.close(make(context, f"/a/{number}/c")[0])
    finally:
        os.close(context.root)


def test_rt_13_what_is_in_the_way(
    runtime: Runtime, bundle: spec.Bundle, outside: Path, tmp_path: Path
) -> None:
    """Existing FIFOs, devices, files and directories of the wrong kind, and names without end: typed errors."""
    os.mkfifo(bundle.rootfs / "fifo")
    (bundle.rootfs / "plain").write_text("kept")
    (bundle.rootfs / "out").symlink_to(outside)
    (tmp_path / "file").write_text("data\n")
    assert look(runtime, mounted(bundle, bind(tmp_path / "file", "/fifo")), "cat /fifo") == ["data"]
    assert look(runtime, mounted(bundle, bind(tmp_path / "file", "/out/made")), f"cat {outside}/made") == [
        "data"
    ]
    for mount in (tmpfs("/plain"), tmpfs("/fifo"), bind(tmp_path / "file", "/etc"), bind(tmp_path, "/plain")):
        with pytest.raises(errors.CreateFailed) as caught:
            runtime.create("wrong", mounted(bundle, mount))
        assert caught.value.errno in (errno.ENOTDIR, errno.EINVAL)
    with pytest.raises(errors.NotSupported, match="destination"):
        runtime.create("deep", mounted(bundle, tmpfs("/a" * 5000)))
    assert (bundle.rootfs / "plain").read_text() == "kept"


@pytest.mark.parametrize("link", ["absolute", "relative"])
def test_rt_14_dev_is_a_directory(runtime: Runtime, bundle: spec.Bundle, outside: Path, link: str) -> None:
    """Without a mount on /dev the image's own is used, and a link in its place is an error."""
    (bundle.rootfs / "dev").rmdir()
    target = outside if link == "absolute" else Path("../../../../../../") / outside.relative_to("/")
    (bundle.rootfs / "dev").symlink_to(target)
    mounts = tuple(mount for mount in bundle.spec.mounts if not mount.destination.startswith("/dev"))
    with pytest.raises(errors.CreateFailed, match="symbolic link") as caught:
        runtime.create("dev", changed(bundle, mounts=mounts))
    assert caught.value.path.startswith("/dev")


@pytest.mark.parametrize("name", ["pts", "shm", "ptmx", "fd", "stdin", "core", "null"])
@pytest.mark.parametrize("kind", ["link", "file", "directory"])
def test_rt_14_what_the_image_has_in_dev(
    runtime: Runtime, bundle: spec.Bundle, outside: Path, name: str, kind: str
) -> None:
    """Links, files and directories under the customary names lead nowhere and remove nothing outside."""
    place = bundle.rootfs / "dev" / name
    if kind == "link":
        place.symlink_to(outside / "secret")
    elif kind == "file":
        place.write_text("image")
    else:
        place.mkdir()
    mounts = tuple(mount for mount in bundle.spec.mounts if not mount.destination.startswith("/dev"))
    with contextlib.suppress(errors.CreateFailed):
        look(runtime, changed(bundle, mounts=mounts), "test -e /proc/self")


@pytest.mark.parametrize("null", ["link", "file", "other", "missing"])
def test_rt_15_masks_do_not_come_from_the_image(runtime: Runtime, bundle: spec.Bundle, null: str) -> None:
    """Whatever the container's /dev/null is, a masked file is covered by the host's, proved to be one."""
    (bundle.rootfs / "hidden").write_text("hidden")
    (bundle.rootfs / "link").symlink_to("hidden")
    place = bundle.rootfs / "dev/null"
    if null == "link":
        place.symlink_to("/proc/sys/kernel/core_pattern")
    elif null == "file":
        place.write_text("x")
    elif null == "other":
        os.mknod(place, 0o020666, os.makedev(1, 5))
    mounts = tuple(mount for mount in bundle.spec.mounts if mount.destination != "/dev")
    masked = with_linux(
        changed(bundle, mounts=mounts),
        masked_paths=("/link", "/hidden", "/hidden", "/proc/keys", "/not/there"),
    )
    try:
        lines = look(runtime, masked, "cat /hidden /link /proc/keys | wc -c; stat -c %t:%T /hidden")
    except errors.CreateFailed:
        assert null != "missing"
        return
    assert lines == ["0", "1:3"]


def test_rt_15_read_only_with_all_below(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A writable mount below a read-only path is read-only too; the same path twice does no harm."""
    (bundle.rootfs / "frozen/inner").mkdir(parents=True)
    frozen = with_linux(
        mounted(bundle, tmpfs("/frozen/inner")),
        readonly_paths=("/frozen", "/frozen", "/not/there", "/proc/sys"),
    )
    script = "(touch /frozen/x || touch /frozen/inner/x || echo x > /proc/sys/kernel/domainname || echo no) 2>/dev/null"
    assert look(runtime, frozen, script) == ["no"]


def test_rt_15_paths_that_are_exchanged(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """When a masked path of a shared volume is exchanged meanwhile, it is masked or the container is not made."""
    volume = tmp_path / "volume"
    (volume / "a").mkdir(parents=True)
    (volume / "a/key").write_text("key")
    other = tmp_path / "other"
    other.mkdir()
    (other / "key").write_text("other")
    hostile = with_linux(mounted(bundle, bind(volume, "/vol")), masked_paths=("/vol/a/key",))
    with swapping(volume / "a", other):
        for _ in range(40):
            with contextlib.suppress(errors.CreateFailed):
                runtime.run(hostile, ["true"], timeout=60)
    assert (volume / "a/key").read_text() == "key"
    assert look(runtime, hostile, "cat /vol/a/key | wc -c") == ["0"]


def test_rt_18_sources(runtime: Runtime, bundle: spec.Bundle, outside: Path, tmp_path: Path) -> None:
    """A source is opened once; with src-nofollow no part of it may be a link; a missing one is an error."""
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/link").symlink_to(outside)
    (tmp_path / "volume/real").mkdir()
    for source in ("volume/link", "volume/link/secret"):
        with pytest.raises(errors.CreateFailed) as caught:
            runtime.create("link", mounted(bundle, bind(tmp_path / source, "/mnt", "src-nofollow")))
        assert caught.value.errno == errno.ELOOP
    assert (
        look(runtime, mounted(bundle, bind(tmp_path / "volume/real", "/mnt", "src-nofollow")), "ls /mnt")
        == []
    )
    for missing in ("none", "volume/real/../../none"):
        with pytest.raises(errors.CreateFailed) as caught:
            runtime.create("missing", mounted(bundle, bind(tmp_path / missing, "/mnt")))
        assert caught.value.errno == errno.ENOENT
    for number in range(3, 12):  # descriptors of the init: none is a directory of the host
        with contextlib.suppress(errors.CreateFailed):
            lines = look(runtime, mounted(bundle, bind(f"/proc/self/fd/{number}", "/mnt")), "ls /mnt")
            assert not {"boot", "lib64", "secret"} & set(lines)


def test_rt_18_a_source_that_moves(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """What is mounted is what was opened; with src-nofollow never what a link leads to."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one/name").write_text("one")
    (tmp_path / "two").mkdir()
    (tmp_path / "two/name").write_text("two")
    with swapping(tmp_path / "one", tmp_path / "two"):
        for _ in range(30):
            with contextlib.suppress(errors.CreateFailed):
                lines = look(
                    runtime, mounted(bundle, bind(tmp_path / "one", "/mnt", "src-nofollow")), "cat /mnt/name"
                )
                assert lines == ["one"]


def test_rt_19_options_reach_the_kernel_one_by_one(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Values with commas, quotes and equals signs stay one value; unknown options and odd values are errors."""
    op = plan.build(mounted(bundle, tmpfs("/mnt", "mode=755,size=1", 'x="a=b"')), "x").find("filesystem")[-1]
    assert op.args[3] == (("mode", "755,size=1"), ("x", '"a=b"'))
    for option in (
        "mode=755,suid",
        "size=1k,nr_inodes=5",
        "mode=9",
        "size=-1",
        "unknown",
        "lowerdir=/",
        "=",
        "",
    ):
        with pytest.raises((errors.CreateFailed, errors.NotSupported)):
            runtime.create("option", mounted(bundle, tmpfs("/mnt", option)))
        with pytest.raises(errors.NotSupported, match=r"\$\.mounts"):
            plan.build(mounted(bundle, bind("/tmp", "/mnt", option)), "x")


@pytest.mark.parametrize("option", KNOWN_OPTIONS)
def test_rt_19_no_known_option_is_passed_on(option: str) -> None:
    """Each is an attribute, a propagation type or a switch; nothing of it is left for the file system to guess."""
    with contextlib.suppress(errors.NotSupported):
        data = parse_options((option,), "$").data
        assert data == () or data[0][0] in {"sync", "dirsync", "lazytime", "mand", "iversion"}


def test_rt_19_read_only_below_too(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """``rro`` covers every mount of the tree, and the host's table of mounts stays as it is."""
    tree = tmp_path / "tree"
    tree.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tree", tree], check=True)
    (tree / "inner").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "inner", tree / "inner"], check=True)
    try:
        mine = [
            line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(tmp_path) in line
        ]
        for propagation in ("rprivate", "rslave", "rshared"):
            mount = Mount(
                destination="/mnt", type="bind", source=str(tree), options=("rbind", "ro", "rro", propagation)
            )
            hostile = with_linux(mounted(bundle, mount), rootfs_propagation="rshared")
            assert look(runtime, hostile, "(touch /mnt/x || touch /mnt/inner/x || echo no) 2>/dev/null") == [
                "no"
            ]
        after = [
            line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(tmp_path) in line
        ]
        assert mine == after
    finally:
        subprocess.run(["umount", "-R", tree], check=True)
