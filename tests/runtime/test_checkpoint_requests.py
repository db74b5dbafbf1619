"""What criu is asked for, and what is made of its answers."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks import errors, spec
from ociworks.runtime import (
    CheckpointOptions,
    RestoreOptions,
    checkpoint,
)
from ociworks.runtime._criu import requests, rpc, running, streams
from ociworks.spec.runtime import IDMapping, Mount, Namespace
from tests.runtime.boxes import FIRST, changed, with_linux, with_users


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.mark.usefixtures("as_root")
def test_what_criu_is_asked_for(bundle: spec.Bundle, tmp_path: Path) -> None:
    """Each option has its field; mounts from outside are named on both sides by their destination."""
    mount = Mount(destination="/data/", type="bind", source="relative", options=("rbind",))
    there = changed(bundle, mounts=(*bundle.spec.mounts, mount))
    images = tmp_path / "images"
    (images / "before").mkdir(parents=True)
    options = CheckpointOptions(
        image_path=str(images),
        parent_path="before",
        config_file="/criu.conf",
        leave_running=True,
        tcp_established=True,
        ext_unix_sk=True,
        shell_job=True,
        file_locks=True,
        lazy_pages=True,
        auto_dedup=True,
        tcp_skip_in_flight=True,
        link_remap=True,
        manage_cgroups_mode="strict",
        empty_ns=("network",),
        status_fd=9,
        page_server="10.0.0.1:99",
    )
    request = requests.dump_request(options, there.spec, os.getpid(), "/freezer")
    same = ("tcp_established", "ext_unix_sk", "shell_job", "file_locks", "lazy_pages", "auto_dedup")
    more = ("leave_running", "track_mem", "orphan_pts_master", "tcp_skip_in_flight", "link_remap")
    assert all(request[name] is True for name in (*same, *more))
    expected = {
        "pid": os.getpid(),
        "log_file": "dump.log",
        "manage_cgroups_mode": 5,
        "empty_ns": 0x40000000,
        "freeze_cgroup": "/freezer",
        "parent_img": "before",
        "config_file": "/criu.conf",
        "status_fd": 9,
        "ps": b"\x0a\x0810.0.0.1\x10\x63",
    }
    assert expected.items() <= request.items()
    assert "mnt[/data]:/data" in words(request, "external")
    pre_dump = CheckpointOptions(image_path="/images", pre_dump=True, leave_running=True)
    request = requests.dump_request(pre_dump, there.spec, os.getpid(), "")
    assert request["track_mem"] is True
    assert not {"leave_running", "freeze_cgroup", "status_fd", "ps", "empty_ns"} & set(request)


@pytest.mark.usefixtures("as_root")
def test_what_criu_is_asked_to_restore(bundle: spec.Bundle, tmp_path: Path) -> None:
    """Streams are pipes of ours, and namespaces that were joined are handed over."""
    mount = Mount(destination="/data/", type="bind", source="relative", options=("rbind",))
    joined = Namespace(type="network", path="/proc/self/ns/net")
    there = with_linux(
        changed(bundle, mounts=(*bundle.spec.mounts, mount)), namespaces=(Namespace(type="mount"), joined)
    )
    (tmp_path / "descriptors.json").write_text('["/dev/null", "pipe:[7]", "file[1:a]"]')
    given = RestoreOptions(image_path=str(tmp_path), lsm_profile="apparmor:x", lsm_mount_context="c")
    place = requests.Place(root="/r", groups={"": "/box", "cpu": "named"}, first_fd=4)
    request, files = requests.restore_request(given, there.spec, str(bundle.path), place=place)
    assert request["cg_root"] == (rpc.message({1: "", 2: "/box"}),)
    assert (request["root"], request["lsm_profile"], request["lsm_mount_context"]) == (
        "/r",
        "apparmor:x",
        "c",
    )
    assert all(request[name] is True for name in ("rst_sibling", "notify_scripts", "orphan_pts_master"))
    external = words(request, "external")
    assert f"mnt[/data]:{bundle.path}/relative" in external
    assert "mnt[/proc/kcore]:/dev/null" in external
    assert request["inherit_fd"] == (
        rpc.message({1: "pipe:[7]", 2: 1}),
        rpc.message({1: "file[1:a]", 2: 2}),
        rpc.message({1: "extRootNetNS", 2: 4}),
    )
    assert files == ("/proc/self/ns/net",)


@pytest.mark.usefixtures("as_root")
def test_control_groups_of_the_host(bundle: spec.Bundle, tmp_path: Path) -> None:
    """Those of version 1 are binds where the container has no namespace for them, and named like others."""
    (tmp_path / "descriptors.json").write_text("[]")
    given = RestoreOptions(image_path=str(tmp_path))
    place = requests.Place(root="/r", groups={}, bound=(("/sys/fs/cgroup/cpu", "/cg/cpu/box"),), first_fd=4)
    request, _ = requests.restore_request(given, bundle.spec, str(bundle.path), place=place)
    assert "mnt[/sys/fs/cgroup/cpu]:/cg/cpu/box" in words(request, "external")
    mounts = (Mount(destination="/sys/fs", type="cgroup"),)
    private = changed(bundle, mounts=mounts)
    shared = with_linux(private, namespaces=(Namespace(type="mount"),))
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = {point for line in lines if (point := line.split(" ")[4]).startswith("/sys/fs/")}
    for there, expected in ((private, set()), (shared, {f"mnt[{point}]:{point}" for point in points})):
        request = requests.dump_request(CheckpointOptions(image_path="/i"), there.spec, os.getpid(), "")
        assert expected == {
            word for word in words(request, "external") if str(word).startswith("mnt[/sys/fs/")
        }


def words(request: Mapping[str, object], name: str) -> tuple[object, ...]:
    """A field that repeats."""
    found = request[name]
    assert isinstance(found, tuple)
    return found


def test_what_is_mounted_on(bundle: spec.Bundle, tmp_path: Path) -> None:
    """Directories and files; below a bind they are its source's, and what is below other mounts comes with those."""
    (tmp_path / "file").touch()
    mounts = (
        Mount(destination="/proc", type="proc"),
        Mount(destination="/proc/acpi", type="tmpfs"),
        Mount(destination="/data//", type="bind", source=str(tmp_path)),
        Mount(destination="/data/file", type="bind", source=str(tmp_path / "file")),
        Mount(destination="etc/file", source=str(tmp_path / "file"), options=("rbind",)),
    )
    found = requests.mount_points(changed(bundle, mounts=mounts).spec, str(bundle.path))
    here = str(tmp_path)
    assert list(found) == [
        ("", "/proc", True), ("", "/data", True), (here, "/file", False), ("", "/etc/file", False),
    ]  # fmt: skip


@pytest.mark.usefixtures("as_root")
def test_where_links_lead(bundle: spec.Bundle, tmp_path: Path) -> None:
    """What is mounted is named by where it really is, but known by the destination of the configuration."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    there = changed(bundle, mounts=(Mount(destination=f"{link}", type="bind", source="."),))
    request = requests.dump_request(CheckpointOptions(image_path="/i"), there.spec, os.getpid(), "")
    assert f"mnt[{tmp_path}]:{link}" in words(request, "external")


@pytest.mark.usefixtures("as_root")
def test_earlier_images(bundle: spec.Bundle, tmp_path: Path) -> None:
    """They are a directory, relative to that of the images; criu only would say that it cannot."""
    for wrong in (str(tmp_path), "missing"):
        options = CheckpointOptions(image_path=str(tmp_path), parent_path=wrong)
        with pytest.raises(errors.CheckpointFailed, match="--parent-path"):
            requests.dump_request(options, bundle.spec, os.getpid(), "")
    (tmp_path / "first").mkdir()
    options = CheckpointOptions(image_path=str(tmp_path / "not-yet-there"), parent_path="../first")
    for there in (bundle, with_users(bundle)):
        assert requests.dump_request(options, there.spec, os.getpid(), "")["parent_img"] == "../first"


@pytest.mark.usefixtures("as_root")
def test_devices_of_a_user_namespace(bundle: spec.Bundle) -> None:
    """They are the host's nodes, bound: named like other mounts. Its root has a group that may open the images."""
    there = with_users(bundle)
    request = requests.dump_request(CheckpointOptions(image_path="/i"), there.spec, os.getpid(), "")
    assert {"mnt[/dev/null]:/dev/null", "mnt[/dev/tty]:/dev/tty"} <= set(words(request, "external"))
    assert requests.own_group(there.spec) == FIRST
    assert requests.own_group(bundle.spec) is None


@pytest.mark.usefixtures("as_root")
def test_what_is_refused(bundle: spec.Bundle) -> None:
    """What would come back as something else, before anything happens."""
    joined = with_linux(bundle, namespaces=(Namespace(type="mount"), Namespace(type="cgroup", path="/x")))
    theirs = with_linux(
        with_users(bundle), namespaces=(Namespace(type="mount"), Namespace(type="user", path="/x"))
    )
    ids = (IDMapping(container_id=0, host_id=5, size=1),)
    shifted = Mount(destination="/d", type="bind", source="/tmp", uid_mappings=ids, gid_mappings=ids)
    by_name = Mount(destination="/d", type="bind", source="/tmp", options=("rbind", "ridmap"))
    requests.dump_request(CheckpointOptions(image_path="/i"), theirs.spec, os.getpid(), "")
    place = requests.Place(root="/r", groups={}, first_fd=4)
    with pytest.raises(errors.NotSupported, match="user cannot be restored"):
        requests.restore_request(RestoreOptions(image_path="/i"), theirs.spec, "/b", place=place)
    inside = with_users(bundle)
    for wrong in (joined, *(changed(inside, mounts=(mount,)) for mount in (shifted, by_name))):
        refused(wrong, CheckpointOptions(image_path="/i"), "cannot be checkpointed")
    for names in (("ipc",), ("net", "pid")):
        refused(bundle, CheckpointOptions(image_path="/i", empty_ns=names), "network only")
    mapped = with_users(bundle)
    rootless = with_linux(mapped, gid_mappings=(IDMapping(container_id=1, host_id=5, size=9),))
    refused(rootless, CheckpointOptions(image_path="/i"), "gidMappings")


def refused(bundle: spec.Bundle, options: CheckpointOptions, why: str) -> None:
    with pytest.raises(errors.NotSupported, match=why):
        requests.dump_request(options, bundle.spec, os.getpid(), "")


def test_only_for_root(bundle: spec.Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    refused(bundle, CheckpointOptions(image_path="/i"), "need root")


@given(
    st.dictionaries(
        st.integers(1, 1 << 20), st.one_of(st.integers(0, (1 << 64) - 1), st.binary(max_size=300)), max_size=8
    )
)
def test_messages_survive_the_wire(fields: dict[int, int | bytes]) -> None:
    assert rpc.parse(rpc.message(fields)) == fields


def test_known_messages() -> None:
    """As the encoding's own documentation has them, and fields of a kind that criu does not use."""
    assert rpc.message({1: 150}) == b"\x08\x96\x01"
    assert rpc.message({2: "testing", 3: True}) == b"\x12\x07testing\x18\x01"
    assert rpc.message({4: ("a", b"b")}) == b"\x22\x01a\x22\x01b"
    assert rpc.message({1: -1}) == b"\x08" + b"\xff" * 9 + b"\x01"
    assert rpc.parse(b"\x09" + bytes(8) + b"\x15" + bytes(4) + b"\x18\x02") == {
        1: bytes(8),
        2: bytes(4),
        3: 2,
    }


@given(st.binary(max_size=60))
def test_what_is_no_message_is_one_error(raw: bytes) -> None:
    with contextlib.suppress(errors.CheckpointFailed):
        rpc.parse(raw)


@pytest.mark.parametrize("raw", [b"\x08", b"\x08" + b"\xff" * 11, b"\x12\x05abcd", b"\x0b", b"\x09\x00"])
def test_messages_that_are_cut(raw: bytes) -> None:
    with pytest.raises(errors.CheckpointFailed):
        rpc.parse(raw)


class Criu:
    """The other end of the channel: says what it was told to say, one message for each that it hears."""

    def __init__(self, *says: bytes | tuple[bytes, int]) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.heard: list[dict[int, int | bytes]] = []
        self._says = says

    def ask(self, notified: Callable[[rpc.Notified], object]) -> rpc.Response:
        """Ask it for a restore."""
        with self.ours, ThreadPoolExecutor(1) as pool:
            serving = pool.submit(self._serve)
            try:
                return rpc.ask(self.ours, rpc.RESTORE, {"pid": 5, "root": "/r"}, notified)
            finally:
                self.ours.shutdown(socket.SHUT_RDWR)
                serving.result(60)

    def _serve(self) -> None:
        with self.theirs:
            for says in self._says:
                self._hear()
                data, *fds = says if isinstance(says, tuple) else (says,)
                socket.send_fds(self.theirs, [data], fds)
            self._hear()

    def _hear(self) -> None:
        if said := self.theirs.recv(1000):
            self.heard.append(rpc.parse(said))


def notice(script: str) -> bytes:
    return rpc.message({1: 6, 2: True, 5: rpc.message({1: script, 2: 42})})


def test_a_restore_and_its_notifications() -> None:
    """Each is answered before criu goes on; a descriptor that comes with one is the caller's."""
    told: list[rpc.Notified] = []
    with open(os.devnull, "rb") as null:
        criu = Criu(
            notice("post-restore"),
            (notice("orphan-pts-master"), null.fileno()),
            rpc.message({1: 2, 2: True, 4: rpc.message({1: 42})}),
        )
        assert criu.ask(told.append) == rpc.Response(success=True, pid=42)
    first, answer, other = criu.heard
    assert first == {1: 2, 2: rpc.message({2: 5, 13: "/r"})}
    assert answer == other == {1: 6, 3: 1}
    assert [(each.script, each.pid) for each in told] == [("post-restore", 42), ("orphan-pts-master", 42)]
    assert told[0].fd == -1
    os.close(told[1].fd)


def test_a_notification_that_is_not_welcome() -> None:
    """What is raised goes to the caller, and criu hears that it must not go on."""

    def refuse(_: rpc.Notified) -> None:
        raise errors.CgroupError("elsewhere")

    criu = Criu(notice("post-restore"))
    with pytest.raises(errors.CgroupError, match="elsewhere"):
        criu.ask(refuse)
    assert criu.heard[-1] == {1: 6, 3: 0}


@pytest.mark.parametrize("says", [(), (rpc.message({1: 2, 2: False}),)])
def test_a_criu_that_fails(says: tuple[bytes, ...]) -> None:
    """With an answer or without one."""
    assert not Criu(*says).ask(print).success


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
            streams.load(str(tmp_path))
    assert "no log" in running.reason(str(tmp_path), "dump.log")
    (tmp_path / "dump.log").write_bytes(
        b"(00.1) Error (criu/x.c:1): first\n(00.2) fine\n\xff Error (criu/y.c:2): last\n"
    )
    assert running.reason(str(tmp_path), "dump.log").count("Error (criu/") == 2
