"""User and time namespaces, mapped owners, and roots that are entered in other ways than by pivot_root."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from ociworks import errors, spec
from ociworks.runtime import OverlayBundle, RootfsOverlay, Runtime, plan
from ociworks.spec.runtime import IDMapping, Mount, Namespace, TimeOffset, TimeOffsets, User
from tests.runtime.boxes import FIRST, MAPPED, changed, look, mounted, remapped_box, with_linux, with_process

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: ids of others")]

needs_clocks = pytest.mark.skipif(
    not os.path.exists("/proc/self/timens_offsets"), reason="this kernel has no time namespaces"
)
needs_maps = pytest.mark.skipif(
    os.environ.get("VMRUN") == "uml", reason="no file system of this machine takes mapped owners"
)
OFFSETS = TimeOffsets(
    monotonic=TimeOffset(secs=7881, nanosecs=2_718_281), boottime=TimeOffset(secs=1337, nanosecs=3_141_519)
)


def further(bundle: spec.Bundle, *namespaces: Namespace) -> tuple[Namespace, ...]:
    """The bundle's namespaces and more."""
    linux = bundle.spec.linux
    assert linux is not None
    return (*linux.namespaces, *namespaces)


@pytest.fixture
def remapped(bundle: spec.Bundle) -> spec.Bundle:
    """A bundle in a user namespace whose root is somebody else outside."""
    return remapped_box(bundle)


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """Files of several users, with a tmpfs below that has some too."""
    place = tmp_path / "data"
    place.mkdir()
    (place / "file").write_text("")
    os.chown(place / "file", 100, 211)
    (place / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "below", place / "below"], check=True)
    (place / "below/file").write_text("")
    os.chown(place / "below/file", 100, 211)
    yield place
    subprocess.run(["umount", place / "below"], check=True)


def ids(first: int, host: int) -> tuple[IDMapping, ...]:
    return (IDMapping(container_id=first, host_id=host, size=10),)


STAT = "stat -c %u:%g /data/file /data/below/file"


@needs_maps
@pytest.mark.parametrize(
    ("options", "owners"),
    [
        (("rbind",), ["1100:2211", "100:211"]),
        (("rbind", "idmap"), ["1100:2211", "100:211"]),
        (("rbind", "ridmap"), ["1100:2211", "1100:2211"]),
    ],
)
def test_owners_that_are_mapped(
    runtime: Runtime, bundle: spec.Bundle, data: Path, options: tuple[str, ...], owners: list[str]
) -> None:
    """Without a user namespace the files show the mapped ids; below the mount only with ridmap."""
    mount = Mount(
        destination="/data",
        type="bind",
        source=str(data),
        options=options,
        uid_mappings=ids(100, 1100),
        gid_mappings=ids(210, 2210),
    )
    assert look(runtime, mounted(bundle, mount), STAT) == owners


@needs_maps
@pytest.mark.parametrize("options", [("bind",), ("bind", "idmap"), ("rbind", "ridmap")])
@pytest.mark.parametrize("inside", [False, True], ids=["host's users", "own users"])
def test_a_tmpfs_with_mapped_owners(
    runtime: Runtime,
    bundle: spec.Bundle,
    remapped: spec.Bundle,
    data: Path,
    options: tuple[str, ...],
    inside: bool,
) -> None:
    """The source itself is one."""
    mount = Mount(
        destination="/data",
        type="bind",
        source=str(data / "below"),
        options=options,
        uid_mappings=ids(100, FIRST + 7 if inside else 1100),
        gid_mappings=ids(210, FIRST + 8 if inside else 2210),
    )
    lines = look(runtime, mounted(remapped if inside else bundle, mount), "stat -c %u:%g /data/file")
    assert lines == (["7:9"] if inside else ["1100:2211"])


@pytest.mark.parametrize("inside", [False, True], ids=["host's users", "own users"])
def test_a_file_system_that_maps_no_owners(
    runtime: Runtime, bundle: spec.Bundle, remapped: spec.Bundle, inside: bool
) -> None:
    """The error says so, also by its number; nothing is created."""
    mount = Mount(
        destination="/data",
        type="bind",
        source="/sys",
        options=("bind",),
        uid_mappings=MAPPED,
        gid_mappings=MAPPED,
    )
    with pytest.raises(errors.CreateFailed, match="does not take mapped owners") as caught:
        runtime.create("x", mounted(remapped if inside else bundle, mount))
    assert caught.value.errno == errno.EOPNOTSUPP


def test_only_binds_have_mapped_owners(bundle: spec.Bundle) -> None:
    """A new file system has the owners that its options say."""
    mount = Mount(destination="/data", type="tmpfs", source="tmpfs", uid_mappings=MAPPED, gid_mappings=MAPPED)
    with pytest.raises(errors.NotSupported, match="only bind mounts"):
        plan.build(mounted(bundle, mount), "x")


@needs_maps
def test_owners_in_a_user_namespace(runtime: Runtime, remapped: spec.Bundle, data: Path) -> None:
    """By the mount's own maps, or by those of the container; a plain bind shows nobody."""
    mounts = (
        Mount(
            destination="/data",
            type="bind",
            source=str(data),
            options=("rbind", "ridmap"),
            uid_mappings=ids(100, FIRST + 7),
            gid_mappings=ids(210, FIRST + 8),
        ),
        Mount(destination="/same", type="bind", source=str(data), options=("bind", "idmap", "ro", "nosuid")),
        Mount(destination="/plain", type="bind", source=str(data), options=("rbind",)),
    )
    script = (
        f"{STAT}; stat -c %u:%g /same/file /plain/file; touch /same/x 2>/dev/null || echo no; touch /data/x"
    )
    expected = ["7:9", "7:9", "100:211", "65534:65534", "no"]
    lines = look(runtime, mounted(remapped, *mounts), f"chmod 777 /data 2>/dev/null; {script}; true")
    assert lines == expected


@needs_maps
@pytest.mark.parametrize("inside", [False, True], ids=["host's users", "own users"])
def test_owners_of_what_the_container_shows_itself(
    runtime: Runtime, bundle: spec.Bundle, remapped: spec.Bundle, data: Path, inside: bool
) -> None:
    """A source that is there only since an earlier mount of the same container; also with all below."""
    own = remapped if inside else bundle
    root = str(own.rootfs)

    def mapped_bind(to: str, source: str, *options: str) -> Mount:
        uids, gids = ids(100, FIRST + 7), ids(210, FIRST + 8)
        return Mount(
            destination=to,
            type="bind",
            source=source,
            options=options,
            uid_mappings=uids,
            gid_mappings=gids,
        )

    mounts = (
        Mount(destination="/shown", type="bind", source=str(data), options=("rbind",)),
        Mount(destination="/shown/below/more", type="tmpfs", source="more", options=("mode=755",)),
        mapped_bind(f"{root}/one", f"{root}/shown", "rbind", "idmap"),
        mapped_bind("/below", f"{root}/shown/below", "bind"),
    )
    lines = look(runtime, mounted(own, *mounts), "stat -c %u:%g /one/file /below/file /one/below/file")
    mapped = "7:9" if inside else f"{FIRST + 7}:{FIRST + 9}"
    assert lines == [mapped, mapped, "65534:65534" if inside else "100:211"]


def test_streams_can_be_opened_again(runtime: Runtime, remapped: spec.Bundle) -> None:
    """``/dev/stdout`` of a pipe that root made, in a user namespace; also for another user, and in an exec."""
    script = "echo out > /dev/stdout; echo err > /dev/stderr"
    for uid in (0, 1000):
        own = with_process(remapped, user=User(uid=uid, gid=uid))
        done = runtime.run(own, ["sh", "-c", script], capture_output=True, timeout=60)
        assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
        with runtime.create("again", own, ["sleep", "1000"]) as container:
            container.start()
            done = container.exec(["sh", "-c", script])
            assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


def test_an_ordinary_user_maps_no_mount(bundle: spec.Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused with its path, before anything exists."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    mount = Mount(
        destination="/data",
        type="bind",
        source="/tmp",
        options=("bind",),
        uid_mappings=MAPPED,
        gid_mappings=MAPPED,
    )
    with pytest.raises(errors.NotSupported, match=r"\$\.mounts\[[0-9]+\]\.uidMappings"):
        plan.build(mounted(bundle, mount), "x")


@pytest.mark.parametrize("matching", [True, False, None])
def test_a_user_namespace_by_path(runtime: Runtime, remapped: spec.Bundle, matching: bool | None) -> None:
    """Joined, with the same maps in the configuration or none; other maps are an error."""
    with runtime.create("first", remapped, ["sleep", "1000"]) as first:
        first.start()
        linux = remapped.spec.linux
        assert linux is not None
        users = Namespace(type="user", path=f"/proc/{first.pid}/ns/user")
        namespaces = (*(each for each in linux.namespaces if each.type != "user"), users)
        wrong = (IDMapping(container_id=0, host_id=FIRST, size=1000),)
        maps = () if matching is None else MAPPED if matching else wrong
        joined = with_linux(remapped, namespaces=namespaces, uid_mappings=maps, gid_mappings=maps)
        if matching is False:
            with pytest.raises(errors.CreateFailed, match="other maps"):
                runtime.create("second", joined)
            return
        lines = look(
            runtime, joined, "readlink /proc/self/ns/user; id -u; touch /made; stat -c %u /made /dev/null"
        )
        assert lines == [os.readlink(users.path or ""), "0", "0", "65534"]
        assert (remapped.rootfs / "made").stat().st_uid == FIRST


@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("by_path", [False, True])
def test_out_of_memory_score_in_a_user_namespace(
    runtime: Runtime, remapped: spec.Bundle, uid: int, *, by_path: bool
) -> None:
    """Its root may not set the score, so that is done before; with a namespace that is joined, too."""
    user = spec.runtime.User(uid=uid, gid=uid)
    scored = with_process(remapped, oom_score_adj=321, user=user)
    with runtime.create("first", scored, ["sleep", "1000"]) as first:
        first.start()
        assert first.exec(["cat", "/proc/self/oom_score_adj"], timeout=60).stdout == b"321\n"
        if by_path:
            linux = remapped.spec.linux
            assert linux is not None
            users = Namespace(type="user", path=f"/proc/{first.pid}/ns/user")
            others = tuple(each for each in linux.namespaces if each.type != "user")
            scored = with_linux(scored, namespaces=(*others, users), uid_mappings=(), gid_mappings=())
            scored = with_process(scored, oom_score_adj=654)
            assert look(runtime, scored, "cat /proc/self/oom_score_adj") == ["654"]


def test_a_namespace_that_belongs_to_other_users(runtime: Runtime, remapped: spec.Bundle) -> None:
    """Beside a user namespace by path, namespaces may be joined that are not its own: with the caller's rights."""
    linux = remapped.spec.linux
    assert linux is not None
    with (
        runtime.create("first", remapped, ["sleep", "1000"]) as first,
        subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as host,
    ):
        assert host.stdin is not None
        assert host.stdout is not None
        host.stdin.write(b"x")
        host.stdin.flush()
        host.stdout.read(1)  # it is in there
        paths = {"user": f"/proc/{first.pid}/ns/user", "network": f"/proc/{host.pid}/ns/net"}
        joined = with_linux(
            remapped,
            namespaces=tuple(attrs.evolve(each, path=paths.get(each.type)) for each in linux.namespaces),
            uid_mappings=(),
            gid_mappings=(),
        )
        mounts = tuple(each for each in joined.spec.mounts if each.type not in ("sysfs", "cgroup"))
        lines = look(
            runtime, changed(joined, mounts=mounts), "readlink /proc/self/ns/user; readlink /proc/self/ns/net"
        )
        assert lines == [os.readlink(paths["user"]), os.readlink(paths["network"])]
        host.stdin.close()


@needs_clocks
@pytest.mark.parametrize("users", [False, True])
def test_clocks(runtime: Runtime, bundle: spec.Bundle, users: bool, request: pytest.FixtureRequest) -> None:
    """Offsets of a new time namespace, also in a user namespace; further processes have them too."""
    base = request.getfixturevalue("remapped") if users else bundle
    timed = with_linux(base, namespaces=further(base, Namespace(type="time")), time_offsets=OFFSETS)
    with runtime.create("timed", timed, ["sleep", "1000"]) as container:
        container.start()
        assert os.readlink(f"/proc/{container.pid}/ns/time") != os.readlink("/proc/self/ns/time")
        lines = container.exec(["cat", "/proc/self/timens_offsets"], timeout=60).stdout.decode().splitlines()
        assert [line.split() for line in lines] == [
            ["monotonic", "7881", "2718281"],
            ["boottime", "1337", "3141519"],
        ]
        uptime = float(container.exec(["cat", "/proc/uptime"], timeout=60).stdout.split()[0])
        assert 1300 < uptime - float(Path("/proc/uptime").read_text().split()[0]) < 1400
        joined = Namespace(type="time", path=f"/proc/{container.pid}/ns/time")
        other = with_linux(bundle, namespaces=further(bundle, joined))
        assert "7881" in look(runtime, other, "cat /proc/self/timens_offsets")[0]
        with pytest.raises(errors.InvalidSpec, match="timeOffsets"):
            runtime.create("both", with_linux(other, time_offsets=OFFSETS))


@needs_clocks
def test_clocks_without_offsets(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A time namespace alone has none."""
    timed = with_linux(bundle, namespaces=further(bundle, Namespace(type="time")))
    lines = look(runtime, timed, "cat /proc/self/timens_offsets")
    assert [line.split()[1:] for line in lines] == [["0", "0"], ["0", "0"]]


@needs_clocks
def test_clocks_that_would_run_backwards(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The kernel refuses an offset before its own start, and nothing is left."""
    timed = with_linux(
        bundle,
        namespaces=further(bundle, Namespace(type="time")),
        time_offsets=TimeOffsets(boottime=TimeOffset(secs=-(10**9))),
    )
    with pytest.raises(errors.CreateFailed, match="timens_offsets"):
        runtime.create("past", timed)


def test_rt_28_more_ranges_than_the_kernel_takes(remapped: spec.Bundle) -> None:
    """Judged before anything is made."""
    many = tuple(IDMapping(container_id=n * 10, host_id=FIRST + n * 10, size=1) for n in range(400))
    with pytest.raises(errors.InvalidSpec, match=r"\$\.linux\.uidMappings"):
        plan.build(with_linux(remapped, uid_mappings=many), "x")


def test_many_ranges(runtime: Runtime, remapped: spec.Bundle) -> None:
    """As many as fit the kernel's page."""
    many = tuple(IDMapping(container_id=n, host_id=FIRST + n * 2, size=1) for n in range(280))
    wide = with_linux(remapped, uid_mappings=many, gid_mappings=many)
    assert look(runtime, wide, "wc -l < /proc/self/uid_map; id -u") == ["280", "0"]


def without_pivot(runtime: Runtime, bundle: spec.Bundle, script: str) -> list[str]:
    """The lines that a script writes in a container whose root was moved."""
    program = with_process(bundle, args=("sh", "-c", f"({script}) > /out"))
    with runtime.create_from(plan.build(program, "moved", no_pivot=True)) as container:
        container.start()
        assert container.wait(timeout=60) == 0
    return (bundle.rootfs / "out").read_text().splitlines()


@pytest.mark.parametrize("users", [False, True])
def test_a_root_that_is_moved(
    runtime: Runtime, bundle: spec.Bundle, users: bool, request: pytest.FixtureRequest
) -> None:
    """``--no-pivot``: the program sees its own root, no mount of the host, and no whole procfs of the host's."""
    base = request.getfixturevalue("remapped") if users else bundle
    script = "ls /; cd /; cd ..; pwd; cut -d' ' -f5 /proc/self/mountinfo; ls /proc | grep -cE '^[0-9]+$'"
    lines = without_pivot(runtime, base, script)
    assert lines[-1] in ("2", "3", "4", "5")
    assert "/" in lines
    assert not any(str(bundle.path) in line or line.startswith("/tmp/") for line in lines)
    assert "boot" not in lines


def overlaid(bundle: spec.Bundle, folder: Path, *, writable: bool = True, layers: int = 2) -> OverlayBundle:
    """A bundle whose root is the given one and a layer on top of it, and an empty directory on the host."""
    top = folder / "top"
    (top / "etc").mkdir(parents=True)
    (top / "etc/layer").write_text("top\n")
    empty = folder / "empty"
    empty.mkdir()
    for name in ("upper", "work"):
        (folder / name).mkdir()
    overlay = RootfsOverlay(
        lowers=(str(top), str(bundle.rootfs))[-layers:],
        upper=str(folder / "upper") if writable else None,
        work=str(folder / "work") if writable else None,
    )
    root = spec.runtime.Root(path=str(empty))
    return OverlayBundle(bundle.path, changed(bundle, root=root).spec, overlay=overlay)


def test_a_root_of_layers(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """Mounted in the container's own mount namespace: what it changes is in the upper directory, no layer changes."""
    made = overlaid(bundle, tmp_path / "layers")
    lines = look(
        runtime, made, "cat /etc/layer; rm /etc/layer; echo new > /new; grep -c ' / ' /proc/mounts; id -u"
    )
    assert lines == ["top", "1", "0"]
    assert (tmp_path / "layers/upper/new").read_text() == "new\n"
    assert (tmp_path / "layers/top/etc/layer").read_text() == "top\n"
    assert not (bundle.rootfs / "new").exists()
    assert list((tmp_path / "layers/empty").iterdir()) == []


@pytest.mark.parametrize("layers", [1, 2])
def test_a_root_of_layers_that_is_only_read(
    runtime: Runtime, bundle: spec.Bundle, tmp_path: Path, layers: int
) -> None:
    """Without an upper directory."""
    made = overlaid(bundle, tmp_path / "layers", writable=False, layers=layers)
    assert look(
        runtime, made, "touch /new 2>/dev/null || echo no; touch /dev/shm/x && ls /etc | grep -c passwd"
    ) == [
        "no",
        "1",
    ]


def test_layers_that_are_not_there(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """Named, and nothing is left; values that are none are refused at once."""
    made = overlaid(bundle, tmp_path / "layers")
    gone = RootfsOverlay(lowers=("/no/such/layer",), upper=made.overlay.upper, work=made.overlay.work)
    with pytest.raises(errors.CreateFailed, match="/no/such/layer"):
        runtime.create("gone", OverlayBundle(made.path, made.spec, overlay=gone))
    with pytest.raises(errors.SpecError):
        RootfsOverlay(lowers=())
    with pytest.raises(errors.SpecError):
        RootfsOverlay(lowers=("/",), upper="/tmp")
