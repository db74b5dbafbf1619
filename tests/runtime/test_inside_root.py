"""The file system that a container sees: its root, mounts, devices, and what is hidden or read-only (RT-08 … RT-19)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks.runtime import Runtime
from ociworks.spec.runtime import Mount
from tests.runtime.boxes import changed, look, mounted, with_linux, with_process

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: device nodes")


def test_the_root_is_all_there_is(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Nothing above it, nothing of the host's mounts."""
    lines = look(
        runtime, bundle, "cd /; cd ../../..; pwd; stat -c %i / /..; cut -d' ' -f5 /proc/self/mountinfo"
    )
    assert lines[0] == "/"
    assert lines[1] == lines[2] == str(bundle.rootfs.stat().st_ino)
    assert {line.split("/")[1] for line in lines[3:]} <= {"", "proc", "dev", "sys"}
    assert not any(str(bundle.path) in line for line in lines[3:])


def test_a_writable_root(runtime: Runtime, bundle: spec.Bundle) -> None:
    """What is written stays in the bundle."""
    look(runtime, bundle, "echo written > /new")
    assert (bundle.rootfs / "new").read_text() == "written\n"


def test_a_read_only_root(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Only the mounts can be written then."""
    only = changed(bundle, root=spec.runtime.Root(path="rootfs", readonly=True))
    assert look(runtime, only, "touch /new 2>/dev/null || echo no; touch /dev/shm/new && echo yes") == [
        "no",
        "yes",
    ]
    assert not (bundle.rootfs / "new").exists()


@pytest.mark.parametrize("readonly", [False, True])
def test_a_bind(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path, readonly: bool) -> None:
    """A directory of the host at a place that is made for it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("of the host\n")
    options = ("rbind", "ro") if readonly else ("rbind",)
    mount = Mount(destination="/not/there/yet", type="bind", source=str(tmp_path / "data"), options=options)
    script = "cat /not/there/yet/file; touch /not/there/yet/new 2>/dev/null && echo written || echo refused"
    told = "refused" if readonly else "written"
    assert look(runtime, mounted(bundle, mount), script) == ["of the host", told]
    assert (tmp_path / "data/new").exists() != readonly


def test_a_bind_of_a_file_and_by_a_relative_path(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A relative source is below the bundle (runtime-spec config.md, Mounts)."""
    (bundle.path / "beside").write_text("beside\n")
    mount = Mount(destination="/etc/beside", type="bind", source="beside", options=("bind", "ro"))
    assert look(runtime, mounted(bundle, mount), "cat /etc/beside") == ["beside"]


def test_options_of_a_file_system(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Attributes and the file system's own."""
    mount = Mount(
        destination="/tmp",
        type="tmpfs",
        source="scratch",
        options=("nosuid", "nodev", "noexec", "mode=711", "size=8k"),
    )
    lines = look(runtime, mounted(bundle, mount), "grep ' /tmp ' /proc/mounts; stat -c %a /tmp")
    words = lines[0].replace(",", " ").split()
    assert {"scratch", "tmpfs", "nosuid", "nodev", "noexec", "mode=711", "size=8k"} <= set(words)
    assert lines[1] == "711"


@pytest.mark.parametrize("option", ["nonsense", "idmap", "remount"])
def test_an_option_that_nobody_knows(runtime: Runtime, bundle: spec.Bundle, option: str) -> None:
    """Refused by us or by the kernel, never ignored."""
    mount = Mount(destination="/mnt", type="tmpfs", source="tmpfs", options=(option,))
    with pytest.raises((errors.NotSupported, errors.CreateFailed, errors.InvalidSpec)) as caught:
        runtime.create("option", mounted(bundle, mount))
    assert option in str(caught.value)


def test_rt_11_links_in_the_image_stay_inside(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """A mount on a link of the image lands where the link leads inside the root, never outside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (bundle.rootfs / "absolute").symlink_to(outside)
    (bundle.rootfs / "climbing").symlink_to("../../../../../../../../etc")
    for name, place in (("/absolute", f"{outside}/proof"), ("/climbing", "/etc/proof")):
        mount = Mount(destination=name, type="tmpfs", source="tmpfs")
        try:
            lines = look(runtime, mounted(bundle, mount), f"touch {place}; ls {Path(place).parent}")
            assert lines == ["proof"]
        except errors.CreateFailed as error:
            assert error.path  # noqa: PT017 - a dangling link may be refused instead
    assert list(outside.iterdir()) == []
    assert not Path("/etc/proof").exists()


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_rt_10_kernel_directories_are_no_links(runtime: Runtime, bundle: spec.Bundle, name: str) -> None:
    """A link in place of /proc or /sys is refused."""
    (bundle.rootfs / name).rmdir()
    (bundle.rootfs / name).symlink_to("tmp")
    with pytest.raises(errors.CreateFailed) as caught:
        runtime.create("link", bundle)
    assert name in str(caught.value)


def test_masked_and_read_only_paths(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Masked files are empty and masked directories too; what is read-only says so; missing ones do not matter."""
    (bundle.rootfs / "secret").mkdir()
    (bundle.rootfs / "secret/key").write_text("key")
    (bundle.rootfs / "etc/hidden").write_text("hidden")
    (bundle.rootfs / "frozen").mkdir()
    linux = bundle.spec.linux
    assert linux is not None
    hidden = with_linux(
        bundle,
        masked_paths=(*linux.masked_paths, "/secret", "/etc/hidden", "/not/there"),
        readonly_paths=(*linux.readonly_paths, "/frozen", "/not/there"),
    )
    script = (
        "ls /secret | wc -l; cat /etc/hidden | wc -c; touch /secret/new 2>/dev/null || echo no;"
        "touch /frozen/new 2>/dev/null || echo no; cat /proc/keys /proc/timer_list | wc -c;"
        "echo 1 2>/dev/null > /proc/sys/vm/swappiness || echo no; ls /sys/firmware | wc -l"
    )
    assert look(runtime, hidden, script) == ["0", "0", "no", "no", "0", "no", "0"]
    assert not (bundle.rootfs / "frozen/new").exists()


def test_default_devices(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Six devices and five links (runtime-spec config-linux.md, Default Devices), and they work."""
    script = (
        "for name in null zero full random urandom tty; do test -c /dev/$name && echo $name; done;"
        "stat -c '%t:%T %a' /dev/null; for name in fd stdin stdout stderr ptmx; do readlink /dev/$name; done;"
        "head -c 3 /dev/zero | wc -c; echo gone > /dev/null && echo written"
    )
    lines = look(runtime, bundle, script)
    assert lines[:6] == ["null", "zero", "full", "random", "urandom", "tty"]
    assert lines[6] == "1:3 666"
    links = ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2", "pts/ptmx"]
    assert lines[7:] == [*links, "3", "written"]


@pytest.mark.root
@root_only
def test_devices_of_the_configuration(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Nodes with their mode and owner, also in directories of their own; a FIFO is possible too."""
    devices = (
        spec.runtime.Device(
            type="c", path="/dev/net/tun", major=10, minor=200, file_mode=0o640, uid=5, gid=6
        ),
        spec.runtime.Device(type="b", path="/dev/block", major=7, minor=0),
        spec.runtime.Device(type="p", path="/dev/pipe"),
    )
    script = "stat -c '%F %t:%T %a %u:%g' /dev/net/tun /dev/block; test -p /dev/pipe && echo pipe"
    assert look(runtime, with_linux(bundle, devices=devices), script) == [
        "character special file a:c8 640 5:6",
        "block special file 7:0 666 0:0",
        "pipe",
    ]


def test_rt_14_dev_of_the_image(runtime: Runtime, bundle: spec.Bundle, tmp_path: Path) -> None:
    """What an image has in /dev is covered, a link in its place does not lead out."""
    (bundle.rootfs / "dev").rmdir()
    (bundle.rootfs / "dev").symlink_to(tmp_path)
    before = sorted(os.listdir(tmp_path))
    try:
        look(runtime, bundle, "true")
    except errors.CreateFailed as error:
        assert error.path  # noqa: PT017 - refused is as good as kept inside
    assert sorted(os.listdir(tmp_path)) == sorted({*before, "root"})


def test_sysctls(runtime: Runtime, bundle: spec.Bundle) -> None:
    """In namespaces of the container's own; those of the host are refused before anything exists (RT-29)."""
    own = with_linux(bundle, sysctl={"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096"})
    assert look(runtime, own, "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax") == ["1", "4096"]
    for name in ("kernel.panic", "vm.swappiness", "net/../kernel.panic", "kernel..panic"):
        with pytest.raises(errors.OciworksError, match="sysctl"):
            runtime.create("host", with_linux(bundle, sysctl={name: "1"}))


def test_the_working_directory(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Made when it is missing, entered, and inside."""
    assert look(runtime, with_process(bundle, cwd="/made/for/it"), "pwd") == ["/made/for/it"]
    (bundle.rootfs / "out").symlink_to("/proc/self/fd")
    with pytest.raises(errors.ContainerError):
        look(runtime, with_process(bundle, cwd="/etc/passwd"), "pwd")


@pytest.mark.parametrize("number", [3, 7, 8, 9])
def test_rt_08_no_descriptor_leads_out(runtime: Runtime, bundle: spec.Bundle, number: int) -> None:
    """A working directory that is a descriptor of the runtime's would be outside the root."""
    with pytest.raises(errors.ContainerError):
        runtime.run(with_process(bundle, cwd=f"/proc/self/fd/{number}"), ["pwd"], timeout=60)
