"""What mounts do that a configuration asks for, as a program in the container sees them."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks.runtime import ExecOptions, Runtime
from ociworks.spec.runtime import Mount
from tests.runtime.boxes import changed, look, mounted, with_linux

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts on the host to bind"),
]


def bound(source: Path, *options: str, to: str = "/mnt") -> Mount:
    """A bind of a directory."""
    return Mount(destination=to, type="bind", source=str(source), options=options or ("bind",))


def flags(runtime: Runtime, bundle: spec.Bundle, place: str = "/mnt") -> set[str]:
    """The attributes of the mount at a place."""
    lines = look(runtime, bundle, f"grep ' {place} ' /proc/self/mountinfo")
    return set(lines[-1].split()[5].split(","))


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of the host with another one below it."""
    place = tmp_path / "source"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "strictatime", "source", place], check=True)
    (place / "below").mkdir()
    (place / "file").write_text("of the host\n")
    subprocess.run(["mount", "-t", "tmpfs", "below", place / "below"], check=True)
    yield place
    subprocess.run(["umount", "-R", place], check=True)


def host_flags(place: Path, options: str) -> None:
    """Give a mount of the host these attributes and no other."""
    for each in ("diratime,strictatime", options):
        subprocess.run(["mount", "--bind", "-o", f"remount,{each}", place], check=True)


CASES = [
    ("ro,noexec,nosymfollow,nodiratime", "bind", {"ro", "noexec", "nosymfollow", "nodiratime"}, {"rw"}),
    ("ro,noexec,nosymfollow,nodiratime", "bind,dev", {"rw", "nodiratime"}, {"ro", "noexec", "nosymfollow"}),
    ("ro", "bind,nosuid,nodev,rprivate", {"rw", "nosuid", "nodev"}, {"ro"}),
    ("ro", "bind,rw,nosuid", {"rw", "nosuid"}, {"ro"}),
    ("nosuid,nodev,noexec,noatime", "bind,dev,suid,exec,atime", {"rw", "noatime"}, {"nosuid", "nodev"}),
    ("rw,nodev,noatime", "bind,ro", {"ro", "noatime"}, {"nodev"}),
    ("noatime", "bind,relatime", {"relatime"}, {"noatime"}),
    ("noatime", "bind,nodiratime", {"relatime", "nodiratime"}, {"noatime"}),
    ("nodiratime", "bind,strictatime", set(), {"relatime", "noatime", "nodiratime"}),
    ("noatime", "bind,nodiratime,strictatime", {"nodiratime"}, {"relatime", "noatime"}),
    ("rw", "bind,remount,ro,nosymfollow", {"ro", "nosymfollow"}, {"rw"}),
]
LOCKED = [
    ("ro,noexec,nosymfollow,nodiratime", "rbind,dev", {"ro", "noexec", "nodiratime"}, {"rw", "nosymfollow"}),
    ("ro", "rbind,nosuid,nodev,rprivate", {"ro", "nosuid", "nodev"}, {"rw"}),
    ("rw,nodev,nosuid,noexec,noatime", "rbind,ro", {"ro", "nosuid", "nodev", "noexec", "noatime"}, set()),
    ("rw,nodev,nosymfollow", "rbind,rw", {"rw", "nodev"}, {"nosymfollow"}),
    ("noatime,nodiratime", "rbind,norelatime", {"noatime", "nodiratime"}, {"relatime"}),
]
REFUSED = [
    ("ro", "rbind,rw,nosuid"),
    ("nodev,nosuid,noatime", "rbind,dev,suid,exec,atime"),
    ("relatime", "rbind,strictatime"),
    ("noatime", "rbind,relatime"),
    ("strictatime", "rbind,noatime"),
]


@pytest.mark.parametrize(("host", "asked", "there", "gone"), CASES)
def test_attributes_of_a_bind(
    runtime: Runtime,
    bundle: spec.Bundle,
    source: Path,
    host: str,
    asked: str,
    there: set[str],
    gone: set[str],
) -> None:
    """Those of the source without any option, else exactly those that are asked for; as runc has it."""
    host_flags(source, host)
    found = flags(runtime, mounted(bundle, bound(source, *asked.split(","))))
    assert there <= found
    assert not gone & found


@pytest.fixture
def remapped(bundle: spec.Bundle) -> spec.Bundle:
    """A bundle in a user namespace whose root is somebody else outside."""
    for path in bundle.path.parents:
        if path != Path("/"):
            path.chmod(path.stat().st_mode | 0o011)
    subprocess.run(["chown", "-R", "200000:200000", bundle.path], check=True)
    linux = bundle.spec.linux
    assert linux is not None
    mapped = (spec.runtime.IDMapping(container_id=0, host_id=200_000, size=65_536),)
    return with_linux(
        bundle,
        namespaces=(*linux.namespaces, spec.runtime.Namespace(type="user")),
        uid_mappings=mapped,
        gid_mappings=mapped,
    )


@pytest.mark.parametrize(("host", "asked", "there", "gone"), LOCKED)
def test_attributes_that_are_locked(
    runtime: Runtime,
    remapped: spec.Bundle,
    source: Path,
    host: str,
    asked: str,
    there: set[str],
    gone: set[str],
) -> None:
    """In a user namespace what the source has stays, and what is asked for is added."""
    host_flags(source, host)
    found = flags(runtime, mounted(remapped, bound(source, *asked.split(","))))
    assert there <= found
    assert not gone & found


@pytest.mark.parametrize(("host", "asked"), REFUSED)
def test_what_is_locked_cannot_be_taken_away(
    runtime: Runtime, remapped: spec.Bundle, source: Path, host: str, asked: str
) -> None:
    """Asking for it is an error, not a weaker mount."""
    host_flags(source, host)
    with pytest.raises(errors.CreateFailed, match=r"not permitted \(/mnt\)"):
        runtime.create("locked", mounted(remapped, bound(source, *asked.split(","))))


def test_a_source_that_only_root_can_reach(runtime: Runtime, remapped: spec.Bundle, source: Path) -> None:
    """The root of the user namespace sees it all the same, as runc's does."""
    source.parent.joinpath("closed").mkdir(mode=0o700)
    inner = source.parent / "closed/data"
    inner.mkdir()
    inner.joinpath("file").write_text("reached\n")
    lines = look(
        runtime, mounted(remapped, bound(inner, "bind", "ro")), "cat /mnt/file; touch /mnt/x || echo no"
    )
    assert lines == ["reached", "no"]
    assert "ro" in flags(runtime, mounted(remapped, bound(inner, "bind", "ro")))


@pytest.mark.parametrize(
    ("options", "top", "below"),
    [
        (("rbind", "rro"), "ro", "ro"),
        (("rbind", "ro"), "ro", "rw"),
        (("rbind", "rro", "rw"), "ro", "ro"),
        (("rbind", "rnosuid"), "nosuid", "nosuid"),
        (("rbind", "rnodev"), "nodev", "nodev"),
        (("rbind", "rnoexec"), "noexec", "noexec"),
        (("rbind", "rnoatime"), "noatime", "noatime"),
        (("rbind", "rnodiratime"), "nodiratime", "nodiratime"),
        (("rbind", "rnosymfollow"), "nosymfollow", "nosymfollow"),
        (("rbind", "rrelatime"), "relatime", "relatime"),
    ],
)
def test_recursive_attributes(
    runtime: Runtime, bundle: spec.Bundle, source: Path, options: tuple[str, ...], top: str, below: str
) -> None:
    """On the mount and on all below it; without the prefix on the mount alone."""
    changed_bundle = mounted(bundle, bound(source, *options))
    assert top in flags(runtime, changed_bundle)
    assert below in flags(runtime, changed_bundle, "/mnt/below")


def test_recursive_attributes_that_are_cleared(runtime: Runtime, bundle: spec.Bundle, source: Path) -> None:
    """``rrw`` and the like take away, below too."""
    host_flags(source / "below", "ro,nosuid,nodev,noexec,noatime")
    options = ("rbind", "rrw", "rsuid", "rdev", "rexec", "rstrictatime")
    found = flags(runtime, mounted(bundle, bound(source, *options)), "/mnt/below")
    assert not found & {"ro", "nosuid", "nodev", "noexec", "noatime", "relatime"}


def test_bind_and_rbind(runtime: Runtime, bundle: spec.Bundle, source: Path) -> None:
    """With what is mounted below, or without."""
    (source / "below/deep").write_text("")
    assert look(runtime, mounted(bundle, bound(source, "bind")), "ls /mnt/below") == []
    assert look(runtime, mounted(bundle, bound(source, "rbind")), "ls /mnt/below") == ["deep"]
    assert look(runtime, mounted(bundle, bound(source, "ro")), "cat /mnt/file; ls /mnt/below") == [
        "of the host"
    ]


@pytest.mark.parametrize(
    "kind", ["shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate"]
)
def test_propagation_of_a_mount(runtime: Runtime, bundle: spec.Bundle, source: Path, kind: str) -> None:
    """Each kind, as mountinfo tells it."""
    subprocess.run(["mount", "--make-rshared", source], check=True)
    lines = look(runtime, mounted(bundle, bound(source, "rbind", kind)), "grep ' /mnt' /proc/self/mountinfo")
    found = [{word.split(":")[0] for word in line.split(" - ")[0].split()[6:]} for line in lines]
    wanted = {
        "shared": {"shared", "master"},
        "slave": {"master"},
        "private": set(),
        "unbindable": {"unbindable"},
    }
    assert found[0] == wanted[kind.removeprefix("r") if kind not in wanted else kind]
    if kind.startswith("r"):
        assert found[1] == found[0]


@pytest.mark.parametrize("kind", ["rshared", "rslave", "rprivate"])
def test_mounts_travel_as_they_should(runtime: Runtime, bundle: spec.Bundle, source: Path, kind: str) -> None:
    """From the host into a container for shared and slave; back for a root that is shared alone."""
    subprocess.run(["mount", "--make-rshared", source], check=True)
    (source / "late").mkdir()
    with runtime.create(
        "late", mounted(bundle, bound(source, "rbind", kind)), ["sleep", "1000"]
    ) as container:
        container.start()
        subprocess.run(["mount", "-t", "tmpfs", "late", source / "late"], check=True)
        inside = container.exec(["grep", "-c", " /mnt/late ", "/proc/self/mountinfo"], timeout=60).stdout
    assert inside == (b"0\n" if kind == "rprivate" else b"1\n")


ROOTS = {"shared": {"shared"}, "slave": {"master"}, "private": set(), "unbindable": {"unbindable"}}


@pytest.mark.parametrize("kind", [*ROOTS, "rshared", "rslave", "rprivate", "runbindable"])
def test_propagation_of_the_root(runtime: Runtime, bundle: spec.Bundle, kind: str) -> None:
    """``linux.rootfsPropagation``, as mountinfo tells it."""
    line = look(runtime, with_linux(bundle, rootfs_propagation=kind), "head -n 1 /proc/self/mountinfo")[0]
    found = {word.split(":")[0] for word in line.split(" - ")[0].split()[6:]}
    assert found - {"master"} == ROOTS[kind.removeprefix("r") if kind not in ROOTS else kind] - {"master"}


@pytest.mark.parametrize("readonly", [False, True])
def test_a_tmpfs_that_starts_with_what_it_covers(
    runtime: Runtime, bundle: spec.Bundle, readonly: bool
) -> None:
    """``tmpcopyup``: files, links, modes and owners; the image stays as it is."""
    place = bundle.rootfs / "data"
    (place / "sub").mkdir(parents=True)
    (place / "sub").chmod(0o1777)
    (place / "file").write_text("content\n")
    os.chown(place / "file", 5, 6)
    (place / "link").symlink_to("/no/where")
    os.mkfifo(place / "pipe")
    place.chmod(0o710)
    options = ("tmpcopyup", *(("ro",) if readonly else ()))
    mount = Mount(destination="/data", type="tmpfs", source="tmpfs", options=options)
    script = (
        "stat -c %a /data /data/sub; stat -c %u:%g /data/file; cat /data/file; readlink /data/link; ls /data;"
        "echo new > /data/file || echo no"
    )
    lines = look(runtime, mounted(bundle, mount), f"({script}) 2>/dev/null")
    kept = ["710", "1777", "5:6", "content", "/no/where", "file", "link", "sub"]
    assert lines == [*kept, *(["no"] if readonly else [])]
    assert (place / "file").read_text() == "content\n"


def test_extended_attributes_are_copied_up(runtime: Runtime, bundle: spec.Bundle, source: Path) -> None:
    """Of files and directories, capabilities of programs too: one that has them works in the copy."""
    place = source / "data"
    (place / "sub").mkdir(parents=True)
    (place / "cat").write_bytes((bundle.rootfs / "bin/busybox").read_bytes())
    (place / "cat").chmod(0o755)
    os.chown(place / "cat", 7, 7)
    reading = struct.pack("<5I", 0x02000001, 1 << 1, 0, 0, 0)  # CAP_DAC_OVERRIDE, effective (capabilities(7))
    given = {"cat": ("security.capability", reading), "sub": ("trusted.note", b"of a directory")}
    for name, (attribute, value) in given.items():
        os.setxattr(place / name, attribute, value)
    (place / "closed").write_text("read\n")
    (place / "closed").chmod(0)
    (bundle.rootfs / "data").mkdir()
    mounts = (
        bound(place, to="/data"),
        Mount(destination="/data", type="tmpfs", source="tmpfs", options=("tmpcopyup",)),
    )
    with runtime.create("copied", mounted(bundle, *mounts), ["sleep", "1000"]) as container:
        container.start()
        inside = Path(f"/proc/{container.pid}/root/data")
        copied = {name: os.getxattr(inside / name, attribute) for name, (attribute, _) in given.items()}
        user = ExecOptions(user="1000:1000", no_new_privileges=False)
        shown = container.exec(["/data/cat", "/data/closed"], options=user, timeout=60)
    assert copied == {name: value for name, (_, value) in given.items()}
    assert shown.stdout == b"read\n", shown.stderr


def test_the_mode_of_a_tmpfs(runtime: Runtime, bundle: spec.Bundle) -> None:
    """That of the directory it covers, an explicit one, or where there was none, 1777."""
    (bundle.rootfs / "closed").mkdir(mode=0o710)
    mounts = [
        Mount(destination="/closed", type="tmpfs", source="t"),
        Mount(destination="/closed/set", type="tmpfs", source="t", options=("mode=1500",)),
        Mount(destination="/new/place", type="tmpfs", source="t"),
    ]
    assert look(runtime, mounted(bundle, *mounts), "stat -c %a /closed /closed/set /new /new/place") == [
        "710",
        "1500",
        "755",
        "1777",
    ]
    assert (bundle.rootfs / "new/place").stat().st_mode & 0o7777 == 0o755


def test_read_only_when_everything_is_in_it(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A read-only /dev has its devices, a read-only tmpfs its mount points."""
    mounts = tuple(
        Mount(destination=m.destination, type=m.type, source=m.source, options=(*m.options, "ro"))
        if m.destination == "/dev"
        else m
        for m in bundle.spec.mounts
    )
    mounts += (
        Mount(destination="/top", type="tmpfs", source="t", options=("ro",)),
        Mount(destination="/top/inner", type="tmpfs", source="t"),
    )
    script = "(touch /dev/x /top/x || echo no) 2>/dev/null; touch /top/inner/x /dev/shm/x; echo > /dev/null; ls /top"
    assert look(runtime, changed(bundle, mounts=mounts), script) == ["no", "inner"]


def test_kernel_file_systems(runtime: Runtime, bundle: spec.Bundle) -> None:
    """mqueue, and procfs with an option of its own."""
    mounts = (
        Mount(destination="/other", type="proc", source="proc", options=("hidepid=2", "nosuid", "ro")),
        Mount(destination="/queue", type="mqueue", source="mqueue", options=("nosuid",)),
    )
    lines = look(runtime, mounted(bundle, *mounts), "grep -E ' /(other|queue) ' /proc/mounts")
    assert "hidepid=invisible" in lines[0] or "hidepid=2" in lines[0]
    assert "ro" in lines[0].split()[3].split(",")
    assert lines[1].startswith("mqueue /queue mqueue")


def test_links_that_dangle(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """What a link of the image leads to is made inside the root."""
    (tmp_path / "hosts").write_text("hosts\n")
    (bundle.rootfs / "jump").symlink_to("/tmp/foo/bar")
    (bundle.rootfs / "etc/hosts").symlink_to("/jump/../baz/hosts")
    mount = bound(tmp_path / "hosts", "bind", to="/etc/hosts")
    assert look(runtime, mounted(bundle, mount), "cat /etc/hosts /tmp/foo/baz/hosts") == ["hosts", "hosts"]
    (bundle.rootfs / "loop").symlink_to("loop")
    with pytest.raises(errors.CreateFailed, match="symbolic links"):
        runtime.create("loop", mounted(bundle, bound(tmp_path, to="/loop/x")))


def test_destinations(runtime: Runtime, bundle: spec.Bundle, source: Path) -> None:
    """Relative ones start at the root, ``..`` is resolved by name, a path of the host below the root is that place."""
    places = ["relative", "/no/../climbing", f"{bundle.rootfs}/by/host", "//double/./one"]
    mounts = [bound(source, to=place) for place in places]
    script = "for name in relative climbing by/host double/one; do cat /$name/file; done; ls /"
    lines = look(runtime, mounted(bundle, *mounts), script)
    assert lines[:4] == ["of the host"] * 4
    assert "no" not in lines[4:]


def test_parts_of_the_containers_own_tree(runtime: Runtime, bundle: spec.Bundle, source: Path) -> None:
    """A bind sees the mounts that came before it."""
    mounts = [
        bound(source, to="/mnt"),
        Mount(destination="/again", type="bind", source=f"{bundle.rootfs}/mnt", options=("rbind",)),
    ]
    assert look(runtime, mounted(bundle, *mounts), "cat /again/file") == ["of the host"]


@pytest.mark.skipif(os.environ.get("VMRUN") == "uml", reason="no file system on a device there")
def test_a_file_system_of_a_device(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """``ro`` reaches the file system too, and it is opened before the container's device rules hold."""
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    done = subprocess.run(
        ["losetup", "--read-only", "--find", "--show", image], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no loop devices here: {done.stderr.strip()}")
    device = done.stdout.strip()
    try:
        mount = Mount(destination="/disk", type="ext4", source=device, options=("ro", "nodev"))
        assert look(runtime, mounted(bundle, mount), "ls /disk") == ["lost+found"]
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def test_settings_of_a_file_system_on_a_bind(runtime: Runtime, bundle: spec.Bundle, source: Path) -> None:
    """Taken as mount(2) and other runtimes take them, and nothing of the source or of other options changes."""
    source.chmod(0o711)
    mount = bound(source, "bind", "nosuid", "mode=755", "size=1k")
    lines = look(runtime, mounted(bundle, mount), "stat -c %a /mnt; grep ' /mnt ' /proc/self/mountinfo")
    assert lines[0] == "711"
    assert "nosuid" in lines[1]
    assert "size=1k" not in lines[1]


def test_what_makes_no_sense(runtime: Runtime, bundle: spec.Bundle, source: Path) -> None:
    """Refused with its path before anything exists."""
    index = len(bundle.spec.mounts)
    mapping = (spec.runtime.IDMapping(container_id=0, host_id=1000, size=1),)
    wrong = {
        "options: ": Mount(destination="/m", type="tmpfs", options=("remount",)),
        "destination": Mount(destination="/x/..", type="tmpfs"),
        "options: a bind": bound(source, "bind", "noexce"),
        "options: a bind mount knows no option 'context'": bound(source, "bind", "context=a:b:c:d"),
        "options: option tmpcopyup": bound(source, "bind", "tmpcopyup"),
        "uidMappings": Mount(destination="/m", type="tmpfs", uid_mappings=mapping, gid_mappings=mapping),
        "type": Mount(destination="/m", type="none", source="/tmp"),
        "options": bound(source, "bind", "idmap"),
    }
    for member, mount in wrong.items():
        with pytest.raises((errors.NotSupported, errors.InvalidSpec)) as caught:
            runtime.create("wrong", mounted(bundle, mount))
        assert f"$.mounts[{index}].{member}" in str(caught.value)


def test_control_groups_begin_at_the_container_s_own(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Also bound from the host's mounts: nothing above is seen, and nothing that the host mounts there comes along."""
    script = """
    grep -e "- cgroup" /proc/self/mountinfo
    echo --
    for procs in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs; do
        [ -e "$procs" ] && { head -n 2 "$procs" | tr "\\n" " "; echo; ls -d "${procs%/*}"/*/ 2>/dev/null; }
    done; true
    """
    with runtime:
        lines = look(runtime, bundle, script)
    mounts, seen = lines[: lines.index("--")], lines[lines.index("--") + 1 :]
    assert mounts
    assert {line.split()[3] for line in mounts} == {"/"}
    assert not any("master:" in line or "shared:" in line for line in mounts)
    assert all("ro" in line.split()[5].split(",") for line in mounts)
    assert len(seen) == len(mounts)
    assert all(line.startswith("1 ") for line in seen)
