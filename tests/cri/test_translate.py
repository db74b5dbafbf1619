"""Requests for containers become runtime configurations, without root: the whole, who, rights and namespaces."""

from __future__ import annotations

from typing import Any

import pytest

from ociworks import spec
from ociworks.cri.config import CriConfig, Handler
from ociworks.cri.container.translate.identity import user_status
from ociworks.cri.container.translate.rights import held_capabilities
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import ImageConfigError, InvalidRequest
from ociworks.spec import FrozenDict
from ociworks.spec.defaults import CAPABILITIES, MASKED_PATHS, READONLY_PATHS
from ociworks.spec.runtime import Spec
from tests.cri.requests import MODES, POD, image, linux, linux_of, mount_at, process_of, request, translated

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


def test_repeated_translation_gives_the_same() -> None:
    """Nothing depends on what was translated before."""
    assert translated(linux=linux(privileged=True)).spec == translated(linux=linux(privileged=True)).spec
    assert request() == request()
