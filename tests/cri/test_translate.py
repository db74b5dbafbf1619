"""Requests for containers become runtime configurations: every concern, without root."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks import spec
from ociworks.cri.config import CriConfig, Handler
from ociworks.cri.container.translate import PodFiles, Source
from ociworks.cri.container.translate.identity import user_status
from ociworks.cri.container.translate.limits import merged
from ociworks.cri.container.translate.rights import held_capabilities
from ociworks.cri.container.translate.signals import signal_of
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import ImageConfigError, InvalidRequest, NotSupported
from ociworks.runtime import cgroups
from ociworks.spec import FrozenDict
from ociworks.spec.defaults import CAPABILITIES, MASKED_PATHS, READONLY_PATHS
from ociworks.spec.runtime import Linux, Mount, Process, Spec
from ociworks.spec.signals import signal_number
from tests.cri.requests import MODES, POD, image, linux, request, translated

PROFILES = api.SecurityProfile.ProfileType


def process_of(**settings: Any) -> Process:
    process = translated(**settings).spec.process
    assert process is not None
    return process


def linux_of(**settings: Any) -> Linux:
    section = translated(**settings).spec.linux
    assert section is not None
    return section


def mount_at(spec_: Spec, place: str) -> Mount:
    return next(mount for mount in spec_.mounts if mount.destination == place)


def resources_of(**limits: Any) -> spec.runtime.Resources:
    section = linux()
    section.resources.MergeFrom(api.LinuxContainerResources(**limits))
    found = linux_of(linux=section).resources
    assert found is not None
    return found


# --- the whole ----------------------------------------------------------------------------------------


def test_what_comes_out_is_valid() -> None:
    """The specification has no objection, and it survives its own JSON."""
    made = translated().spec
    assert spec.validate(made) == []
    assert spec.parse(Spec, spec.to_json(made)) == made


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        ((), (), ("/entry", "a", "b")),
        ((), ("x",), ("/entry", "x")),
        (("run",), (), ("run",)),
        (("run",), ("x", "y"), ("run", "x", "y")),
    ],
)
def test_command_and_arguments(
    command: tuple[str, ...], args: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    """The command stands in for Entrypoint and Cmd, arguments for Cmd alone."""
    found = process_of(image=image(entrypoint=("/entry",), cmd=("a", "b")), command=command, args=args)
    assert found.args == expected


def test_environment_and_directory() -> None:
    """The request's variables win, the pod's name is there unless the image has one, the request's directory counts."""
    found = process_of(
        image=image(env=("A=image", "B=image"), working_dir="/image"),
        envs=[api.KeyValue(key="A", value="über=1".encode())],
        working_dir="/asked",
        tty=True,
    )
    assert {"A=über=1", "B=image", "HOSTNAME=box", "TERM=xterm"} <= set(found.env)
    assert found.cwd == "/asked"
    assert found.terminal
    assert "HOSTNAME=mine" in process_of(image=image(env=("HOSTNAME=mine",))).env


@pytest.mark.parametrize("key", ["", "A=B", "A\0"])
def test_environment_names(key: str) -> None:
    with pytest.raises(InvalidRequest):
        translated(envs=[api.KeyValue(key=key, value=b"x")])


def test_environment_values_are_text() -> None:
    with pytest.raises(InvalidRequest, match="UTF-8"):
        translated(envs=[api.KeyValue(key="A", value=b"\xff")])


def test_control_group() -> None:
    """Below the pod's parent, in the words of each driver."""
    assert linux_of().cgroups_path == f"/kubepods/pod1/{'c' * 64}"
    systemd = CriConfig(cgroup_driver="systemd")
    found = linux_of(server=systemd, cgroup_parent="/kubepods.slice/kubepods-pod1.slice")
    assert found.cgroups_path == f"kubepods-pod1.slice:cri-ociworks:{'c' * 64}"


def test_protected_paths() -> None:
    """As the request lists them, the default ones without a security context, none when privileged."""
    asked = linux_of(linux=linux(masked_paths=["/proc/kcore"], readonly_paths=["/proc/sys"]))
    assert (asked.masked_paths, asked.readonly_paths) == (("/proc/kcore",), ("/proc/sys",))
    pod = FrozenDict({**POD, "pid": "/pins/pid"})
    bare = linux_of(linux=api.LinuxContainerConfig(), namespaces=pod)
    assert (bare.masked_paths, bare.readonly_paths) == (MASKED_PATHS, READONLY_PATHS)
    open_ = linux_of(linux=linux(masked_paths=["/proc/kcore"], privileged=True))
    assert (open_.masked_paths, open_.readonly_paths) == ((), ())


def test_switches() -> None:
    """no_new_privs and readonly_rootfs."""
    made = translated(linux=linux(no_new_privs=True, readonly_rootfs=True)).spec
    assert made.process is not None
    assert made.process.no_new_privileges
    assert made.root is not None
    assert made.root.readonly
    plain = translated().spec
    assert plain.process is not None
    assert plain.process.no_new_privileges is None


# --- who ----------------------------------------------------------------------------------------------


@pytest.fixture
def users(tmp_path: Path) -> Any:
    """A root with databases of users."""
    (tmp_path / "etc").mkdir()
    with open(tmp_path / "etc/passwd", "x") as file:
        file.write("root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n")
    with open(tmp_path / "etc/group", "x") as file:
        file.write("root:x:0:\nalice:x:1000:alice\nstaff:x:50000:alice\n")
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


MERGE, STRICT = api.SupplementalGroupsPolicy.Merge, api.SupplementalGroupsPolicy.Strict
NUMBER = api.Int64Value


@pytest.mark.parametrize(
    ("user", "security", "uid", "gid", "groups"),
    [
        ("", {}, 0, 0, (0,)),
        ("alice", {}, 1000, 1000, (1000, 50000)),
        ("alice:0", {}, 1000, 0, (0,)),
        ("alice", {"run_as_user": NUMBER(value=7)}, 7, 0, (0,)),
        ("", {"run_as_user": NUMBER(value=1000)}, 1000, 1000, (1000, 50000)),
        ("", {"run_as_username": "alice"}, 1000, 1000, (1000, 50000)),
        (
            "",
            {
                "run_as_user": NUMBER(value=1000),
                "run_as_group": NUMBER(value=3000),
                "supplemental_groups": [4000],
            },
            1000,
            3000,
            (3000, 4000, 1000, 50000),
        ),
        (
            "",
            {
                "run_as_user": NUMBER(value=1000),
                "run_as_group": NUMBER(value=3000),
                "supplemental_groups": [4000],
                "supplemental_groups_policy": STRICT,
            },
            1000,
            3000,
            (3000, 4000),
        ),
        ("", {"run_as_user": NUMBER(value=0)}, 0, 0, (0,)),
    ],
)
def test_identity(
    users: int, user: str, security: dict[str, Any], uid: int, gid: int, groups: tuple[int, ...]
) -> None:
    """The table of translate.identity; the status tells the same."""
    found = translated(image=image(user=user), linux=linux(**security), rootfd=users)
    assert (found.user.uid, found.user.gid, found.user.additional_gids) == (uid, gid, groups)
    told = user_status(found.user).linux
    assert (told.uid, told.gid, tuple(told.supplemental_groups)) == (uid, gid, groups)


def test_home_is_that_of_the_user(users: int) -> None:
    assert "HOME=/home/alice" in process_of(linux=linux(run_as_username="alice"), rootfd=users).env


def test_unknown_user_of_the_image_is_the_image_s_fault(users: int) -> None:
    with pytest.raises(ImageConfigError):
        translated(image=image(user="bob"), rootfd=users)


# --- rights -------------------------------------------------------------------------------------------


def rights(**capability: Any) -> spec.runtime.Capabilities:
    found = process_of(linux=linux(capabilities=api.Capability(**capability))).capabilities
    assert found is not None
    return found


def test_capabilities() -> None:
    """Default, added, dropped; ALL comes before single names; nothing is inheritable unless ambient."""
    assert rights().bounding == CAPABILITIES
    assert rights().inheritable == rights().ambient == ()
    added = rights(add_capabilities=["SYS_ADMIN", "cap_net_admin"], drop_capabilities=["CHOWN"])
    assert set(added.bounding) == {*CAPABILITIES, "CAP_SYS_ADMIN", "CAP_NET_ADMIN"} - {"CAP_CHOWN"}
    assert added.effective == added.permitted == added.bounding
    assert rights(drop_capabilities=["ALL"]).bounding == ()
    assert rights(drop_capabilities=["ALL"], add_capabilities=["KILL"]).bounding == ("CAP_KILL",)
    assert set(rights(add_capabilities=["ALL"], drop_capabilities=["KILL"]).bounding) == set(
        held_capabilities()
    ) - {"CAP_KILL"}
    ambient = rights(drop_capabilities=["ALL"], add_ambient_capabilities=["NET_BIND_SERVICE"])
    assert ambient.ambient == ambient.inheritable == ambient.bounding == ("CAP_NET_BIND_SERVICE",)


@pytest.mark.parametrize("name", ["", "NO_SUCH", "CAP_", "KILL ", "ſYS_ADMIN"])
def test_capabilities_that_are_none(name: str) -> None:
    with pytest.raises(InvalidRequest):
        rights(add_capabilities=[name])


def test_privileged() -> None:
    """Everything this host may give: capabilities, devices, writable /sys; no filter."""
    found = translated(linux=linux(privileged=True, seccomp=api.SecurityProfile())).spec
    assert found.process is not None
    assert found.process.capabilities is not None
    assert set(found.process.capabilities.effective) == set(held_capabilities())
    assert found.linux is not None
    assert found.linux.seccomp is None
    assert "cgroup" not in {each.type for each in found.linux.namespaces}
    assert {"/dev/null", "/dev/zero"} <= {device.path for device in found.linux.devices}
    assert found.linux.resources is not None
    assert [rule.allow for rule in found.linux.resources.devices] == [True]
    assert "rw" in mount_at(found, "/sys").options
    assert "rw" in mount_at(found, "/sys/fs/cgroup").options
    without = linux_of(linux=linux(privileged=True), handler=Handler(privileged_without_host_devices=True))
    assert without.devices == ()


def test_control_groups_may_be_writable_by_the_handler_s_settings() -> None:
    assert "ro" in mount_at(translated().spec, "/sys/fs/cgroup").options
    assert "rw" in mount_at(translated(handler=Handler(cgroup_writable=True)).spec, "/sys/fs/cgroup").options


# --- namespaces ---------------------------------------------------------------------------------------


def kinds(**settings: Any) -> dict[str, str | None]:
    return {each.type: each.path for each in linux_of(**settings).namespaces}


def options(pid: int, **settings: Any) -> api.LinuxContainerConfig:
    return linux(namespace_options=api.NamespaceOption(pid=pid, **settings))  # type: ignore[arg-type]


def test_namespaces() -> None:
    """The pod's, and those that are a container's own."""
    expected = {"mount": None, "pid": None, "cgroup": None, "network": "/pins/net", "ipc": "/pins/ipc"}
    assert kinds() == {**expected, "uts": "/pins/uts"}
    assert kinds(namespaces=FrozenDict()) == {"mount": None, "pid": None, "cgroup": None}


def test_process_namespaces() -> None:
    """All four modes."""
    pod = FrozenDict({**POD, "pid": "/pins/pid"})
    section = api.LinuxContainerConfig()
    assert kinds(linux=section, namespaces=pod)["pid"] == "/pins/pid"
    assert kinds(linux=options(MODES.TARGET), target_pid="/proc/1/ns/pid")["pid"] == "/proc/1/ns/pid"
    host = api.PodSandboxConfig()
    host.linux.security_context.namespace_options.pid = MODES.NODE
    assert "pid" not in kinds(linux=options(MODES.NODE), pod=host)
    assert "pid" not in kinds(linux=section, pod=host)


@pytest.mark.parametrize(
    "wanted",
    [
        api.NamespaceOption(pid=MODES.NODE),
        api.NamespaceOption(pid=MODES.POD),
        api.NamespaceOption(pid=MODES.TARGET),
        api.NamespaceOption(pid=MODES.CONTAINER, network=MODES.NODE),
        api.NamespaceOption(pid=MODES.CONTAINER, ipc=MODES.NODE),
        api.NamespaceOption(pid=MODES.CONTAINER, network=MODES.CONTAINER),
        api.NamespaceOption(pid=MODES.CONTAINER, network=77),  # type: ignore[arg-type]
        api.NamespaceOption(pid=77),  # type: ignore[arg-type]
        api.NamespaceOption(pid=MODES.CONTAINER, userns_options=api.UserNamespace(mode=MODES.TARGET)),
    ],
)
def test_namespaces_that_the_pod_does_not_offer(wanted: api.NamespaceOption) -> None:
    section = api.LinuxContainerConfig(
        security_context=api.LinuxContainerSecurityContext(namespace_options=wanted)
    )
    with pytest.raises(InvalidRequest):
        translated(linux=section)


def test_user_namespace() -> None:
    """The pod's, with its mappings; others are refused."""
    ids = [api.IDMapping(host_id=100000, container_id=0, length=65536)]
    users = api.UserNamespace(mode=MODES.POD, uids=ids, gids=ids)
    pod = api.PodSandboxConfig()
    pod.linux.security_context.namespace_options.userns_options.CopyFrom(users)
    joined = FrozenDict({**POD, "user": "/pins/user"})
    found = linux_of(pod=pod, namespaces=joined, linux=options(MODES.CONTAINER, userns_options=users))
    assert found.uid_mappings == found.gid_mappings
    assert (found.uid_mappings[0].host_id, found.uid_mappings[0].size) == (100000, 65536)
    other = api.UserNamespace(mode=MODES.POD, uids=[api.IDMapping(host_id=0, length=1)], gids=ids)
    with pytest.raises(InvalidRequest):
        translated(pod=pod, namespaces=joined, linux=options(MODES.CONTAINER, userns_options=other))
    node = api.UserNamespace(mode=MODES.NODE)
    with pytest.raises(InvalidRequest):
        translated(pod=pod, namespaces=joined, linux=options(MODES.CONTAINER, userns_options=node))
    shared = FrozenDict({"user": "/pins/user"})
    assert "rbind" in mount_at(translated(pod=pod, namespaces=shared).spec, "/sys").options


# --- limits -------------------------------------------------------------------------------------------


def test_limits() -> None:
    """What is said, and nothing for what is not."""
    found = resources_of(
        cpu_period=100000,
        cpu_quota=50000,
        cpu_shares=512,
        memory_limit_in_bytes=1 << 26,
        cpuset_cpus="0-1,3",
        unified={"memory.high": "1000"},
    )
    assert found.cpu == spec.runtime.CPU(shares=512, quota=50000, period=100000, cpus="0-1,3")
    assert found.memory == spec.runtime.Memory(limit=1 << 26)
    assert found.unified == {"memory.high": "1000"}
    nothing = resources_of()
    assert (nothing.cpu, nothing.memory, nothing.hugepage_limits) == (None, None, ())


@pytest.mark.parametrize(
    "limits",
    [
        {"cpu_shares": -1},
        {"cpu_quota": -2},
        {"memory_limit_in_bytes": -2},
        {"cpuset_cpus": "0 1"},
        {"cpuset_mems": "../x"},
        {"oom_score_adj": 1001},
        {"unified": {"../memory.max": "1"}},
        {"unified": {"memory/max": "1"}},
        {"hugepage_limits": [api.HugepageLimit(page_size="../2MB", limit=1)]},
    ],
)
def test_limits_that_mean_nothing(limits: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        resources_of(**limits)


def test_missing_huge_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left out where that is tolerated, and refused where not."""
    monkeypatch.setattr(cgroups, "detect", lambda: cgroups.Hierarchies(mode="none"))
    section = linux()
    section.resources.hugepage_limits.add(page_size="2MB", limit=1 << 21)
    found = linux_of(linux=section).resources
    assert found is not None
    assert found.hugepage_limits == ()
    with pytest.raises(NotSupported):
        translated(linux=section, server=CriConfig(tolerate_missing_hugetlb=False))


def test_huge_pages_of_other_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kubelet limits every size to nothing; beside version 1, runc fails over what only version 2 can limit."""

    def groups(mode: str, version: int) -> None:
        mount = cgroups.Hierarchy(
            version=version, mount_point="/c", controllers=("hugetlb",), own="/", root="/", device=1
        )
        monkeypatch.setattr(cgroups, "detect", lambda: cgroups.Hierarchies(mode=mode, mounts=(mount,)))

    section = linux()
    section.resources.hugepage_limits.add(page_size="2MB", limit=0)

    def limited(*, foreign: bool) -> bool:
        found = linux_of(linux=section, foreign=foreign).resources
        return found is not None and bool(found.hugepage_limits)

    groups("hybrid", 2)
    assert (limited(foreign=False), limited(foreign=True)) == (True, False)
    groups("hybrid", 1)
    assert (limited(foreign=False), limited(foreign=True)) == (True, True)
    groups("v2", 2)
    assert (limited(foreign=False), limited(foreign=True)) == (True, True)


def test_oom_score() -> None:
    """As asked, and with the restriction not below the server's own."""
    section = linux()
    section.resources.oom_score_adj = -999
    assert process_of(linux=section).oom_score_adj == -999
    own = int(Path("/proc/self/oom_score_adj").read_text())
    restricted = process_of(linux=section, server=CriConfig(restrict_oom_score_adj=True))
    assert restricted.oom_score_adj == max(own, -999)


def test_an_update_changes_what_it_says() -> None:
    before = api.LinuxContainerResources(cpu_shares=2, memory_limit_in_bytes=5, unified={"a.b": "1"})
    change = api.LinuxContainerResources(cpu_shares=3, unified={"c.d": "2"})
    after = merged(before, change)
    assert (after.cpu_shares, after.memory_limit_in_bytes) == (3, 5)
    assert dict(after.unified) == {"a.b": "1", "c.d": "2"}
    assert before.cpu_shares == 2


# --- mounts -------------------------------------------------------------------------------------------


def source(path: str = "/srv", **settings: Any) -> Source:
    settings.setdefault("host_path", path)
    return Source(mount=api.Mount(**settings), path=path)


def places(**settings: Any) -> list[str]:
    return [mount.destination for mount in translated(**settings).spec.mounts]


def test_pod_files() -> None:
    """The pod's files, read-only when the root is; a request's own take their place."""
    files = PodFiles(hosts="/p/hosts", hostname="/p/hostname", resolv_conf="/p/resolv.conf", shm="/p/shm")
    made = translated(files=files).spec
    assert mount_at(made, "/etc/hosts").source == "/p/hosts"
    assert mount_at(made, "/dev/shm").options == ("rbind", "rprivate", "rw")
    closed = translated(files=files, linux=linux(readonly_rootfs=True)).spec
    assert "ro" in mount_at(closed, "/etc/resolv.conf").options
    own = translated(files=files, sources=(source(container_path="/etc/hosts"),)).spec
    assert mount_at(own, "/etc/hosts").source == "/srv"
    assert len({mount.destination for mount in own.mounts}) == len(own.mounts)


def test_mount_options() -> None:
    """Access, propagation, what is below, and mapped owners."""
    users = [api.IDMapping(host_id=5, container_id=0, length=1)]
    made = translated(
        sources=(
            source(container_path="/a", readonly=True, recursive_read_only=True),
            source(container_path="/b", propagation=api.MountPropagation.PROPAGATION_HOST_TO_CONTAINER),
            source(container_path="/c", uidMappings=users, gidMappings=users, mount_options=["nosuid"]),
            source(container_path="/d", host_path="", image=api.ImageSpec(image="x"), readonly=True),
        )
    ).spec
    assert mount_at(made, "/a").options == ("rbind", "rprivate", "ro", "rro")
    assert mount_at(made, "/b").options == ("rbind", "rslave", "rw")
    assert mount_at(made, "/c").options == ("rbind", "rprivate", "rw", "nosuid")
    assert mount_at(made, "/c").uid_mappings[0].host_id == 5
    assert mount_at(made, "/d").options == ("rbind", "rprivate", "ro", "nosuid", "nodev")
    assert made.linux is not None
    assert made.linux.rootfs_propagation == "rslave"
    shared = source(container_path="/b", propagation=api.MountPropagation.PROPAGATION_BIDIRECTIONAL)
    assert linux_of(sources=(shared,)).rootfs_propagation == "rshared"


@given(st.permutations(["/a", "/a/b", "/a/b/c", "/z", "relative", "/a/../etc"]))
def test_mounts_do_not_hide_each_other(order: list[str]) -> None:
    """Whatever the order of a request, what lies inside another mount comes after it."""
    order = [place for place in order if ".." not in place]
    found = places(sources=tuple(source(container_path=place) for place in order))
    for index, place in enumerate(found):
        assert not any(place.startswith(f"{later}/") for later in found[index + 1 :])
    assert "/relative" in found


def test_volumes_of_the_image() -> None:
    """A directory of the container's own, unless the request has something there."""
    volumes = FrozenDict({"/data": "/root/volumes/0", "/mine": "/root/volumes/1"})
    made = translated(volumes=volumes, sources=(source(container_path="/mine"),)).spec
    assert mount_at(made, "/data").source == "/root/volumes/0"
    assert mount_at(made, "/mine").source == "/srv"


# --- devices ------------------------------------------------------------------------------------------


def test_devices() -> None:
    """A node and its rule; a directory is all devices in it."""
    found = linux_of(
        devices=[api.Device(container_path="/dev/mine", host_path="/dev/null", permissions="rw")]
    )
    assert [(device.path, device.major, device.minor) for device in found.devices] == [("/dev/mine", 1, 3)]
    assert found.resources is not None
    rule = found.resources.devices[-1]
    assert (rule.allow, rule.type, rule.major, rule.minor, rule.access) == (True, "c", 1, 3, "rw")
    many = linux_of(devices=[api.Device(container_path="/dev/all", host_path="/dev")])
    assert "/dev/all/null" in {device.path for device in many.devices}


@pytest.mark.parametrize(
    "device",
    [
        api.Device(host_path="/dev/null", container_path="relative"),
        api.Device(host_path="/dev/no-such-device"),
        api.Device(host_path="/etc/passwd"),
        api.Device(host_path="/dev/../dev/null"),
        api.Device(host_path="/dev/null", permissions="rx"),
        api.Device(host_path="/dev/null", permissions="rr"),
    ],
)
def test_devices_that_are_none(device: api.Device) -> None:
    with pytest.raises(InvalidRequest):
        translated(devices=[device])


# --- signals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", sorted(set(api.Signal.values()) - {0}))
def test_stop_signals(number: int) -> None:
    """Every signal of the interface has a name that the system knows, and comes back as the same number."""
    name = translated(stop_signal=number).stop_signal
    again = signal_of(name)
    assert signal_number(name) == signal_number(translated(stop_signal=again).stop_signal)


def test_stop_signal_of_the_image() -> None:
    assert translated(image=image(stop_signal="SIGRTMIN+3")).stop_signal == "SIGRTMIN+3"
    assert (
        translated(image=image(stop_signal="SIGRTMIN+3"), stop_signal=api.Signal.SIGNAL_SIGHUP).stop_signal
        == "SIGHUP"
    )
    with pytest.raises(ImageConfigError):
        translated(image=image(stop_signal="nonsense"))
    assert translated().stop_signal == "SIGTERM"
    with pytest.raises(InvalidRequest):
        translated(stop_signal=999)


def test_repeated_translation_gives_the_same() -> None:
    """Nothing depends on what was translated before."""
    assert translated(linux=linux(privileged=True)).spec == translated(linux=linux(privileged=True)).spec
    assert request() == request()
