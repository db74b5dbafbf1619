"""CR-06 and CR-08 to CR-12: what a request for a container says, against the host and other pods."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.cri.config import CriConfig, Handler
from ociworks.cri.container.logpath import log_path
from ociworks.cri.container.names import reserved_name
from ociworks.cri.container.sources import find_sources
from ociworks.cri.container.translate import Source
from ociworks.cri.container.translate.annotations import OWN
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import ContainerRecord
from ociworks.cri.store import Store
from ociworks.errors import (
    AlreadyReserved,
    ImageConfigError,
    InvalidRequest,
    NotSupported,
    OciworksError,
    PodNotFound,
)
from ociworks.spec import to_json
from ociworks.spec.runtime import Seccomp
from tests.cri.requests import image, linux, request, translated

PROFILES = api.SecurityProfile.ProfileType


# --- CR-06: log paths ---------------------------------------------------------------------------------


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    root = tmp_path / "logs"
    root.mkdir()
    return root


@pytest.mark.parametrize(
    "directory",
    [
        "relative/pod",
        "{root}",
        "{root}/",
        "{root}/..",
        "{root}/../other",
        "{root}/a/../../b",
        "{root}x/pod",
        "/",
        "/etc",
    ],
)
def test_cr_06_log_directories(logs: Path, directory: str) -> None:
    """Only directories below a configured one; nothing outside is touched."""
    before = sorted(os.listdir(logs.parent))
    with pytest.raises(InvalidRequest):
        log_path(directory.format(root=logs), "main.log", [str(logs)])
    assert sorted(os.listdir(logs.parent)) == before


@pytest.mark.parametrize(
    "name",
    ["/etc/x", "../x", "a/../../x", ".", "a/", "a\nb", "a\0b", "x" * 256, "/".join("a" * 20), "a\x1b[2J"],
)
def test_cr_06_log_names(logs: Path, name: str) -> None:
    """A name that leaves the pod's directory, or is none, is refused."""
    with pytest.raises(InvalidRequest):
        log_path(f"{logs}/pod", name, [str(logs)])


def test_cr_06_without_a_name_there_is_no_log(logs: Path) -> None:
    assert log_path(f"{logs}/pod", "", [str(logs)]) == ""
    assert log_path("", "main.log", [str(logs)]) == ""
    assert os.listdir(logs) == []


def test_cr_06_what_is_on_the_way(logs: Path, tmp_path: Path) -> None:
    """Links, FIFOs and directories of others are not followed, opened or written into."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (logs / "linked").symlink_to(outside)
    (logs / "pod").mkdir()
    (logs / "pod/link.log").symlink_to(outside / "file")
    os.mkfifo(logs / "pod/fifo.log")
    (logs / "pod/directory.log").mkdir()
    (logs / "open").mkdir()
    (logs / "open").chmod(0o777)
    for directory, name in [
        ("linked", "main.log"),
        ("pod", "link.log"),
        ("pod", "fifo.log"),
        ("pod", "directory.log"),
        ("pod", "link.log/main.log"),
        ("open", "main.log"),
    ]:
        with pytest.raises(InvalidRequest):
            log_path(f"{logs}/{directory}", name, [str(logs)])
    assert os.listdir(outside) == []
    assert log_path(f"{logs}/pod", "sub/0.log", [str(logs)]) == f"{logs}/pod/sub/0.log"
    assert (logs / "pod/sub").is_dir()


@pytest.mark.root
def test_cr_06_directory_of_another_user(logs: Path) -> None:
    (logs / "theirs").mkdir()
    os.chown(logs / "theirs", 1234, 1234)
    with pytest.raises(InvalidRequest):
        log_path(f"{logs}/theirs", "main.log", [str(logs)])


# --- CR-08: names and IDs -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\0b", "a\nb", "a b", "-a", "ü", "x" * 65536, "a_b/0"])
def test_cr_08_container_names(name: str) -> None:
    with pytest.raises(InvalidRequest):
        reserved_name("5" * 64, api.ContainerMetadata(name=name))


@given(
    st.tuples(st.from_regex(r"[a-z_]{1,4}", fullmatch=True), st.integers(0, 2**32 - 1)),
    st.tuples(st.from_regex(r"[a-z_]{1,4}", fullmatch=True), st.integers(0, 2**32 - 1)),
)
def test_cr_08_joined_names_are_unambiguous(one: tuple[str, int], other: tuple[str, int]) -> None:
    names = [
        reserved_name("5" * 64, api.ContainerMetadata(name=f"x{name}", attempt=attempt))
        for name, attempt in (one, other)
    ]
    assert (names[0] == names[1]) == (one == other)


@pytest.mark.parametrize("attempt", [-1, 2**32])
def test_cr_08_attempts(attempt: int) -> None:
    """The wire format has no such numbers."""
    with pytest.raises(ValueError, match="range"):
        api.ContainerMetadata(name="a", attempt=attempt)


def test_cr_08_ambiguous_prefixes_and_names_in_the_store(tmp_path: Path) -> None:
    """A prefix of several is nobody's; a name is reserved with its record and free when that is gone."""

    def record(id: str, name: str) -> ContainerRecord:
        return ContainerRecord(
            id=id, sandbox_id="5" * 64, name=name, phase="created", handler="", config=b"", created_at=1
        )

    with Store(tmp_path / "db") as store:
        store.containers.add(record("a" * 64, "one"))
        store.containers.add(record("a" * 63 + "b", "two"))
        for prefix in ("", "a", "a" * 63, "5" * 64, "%", "_"):
            with pytest.raises(PodNotFound):
                store.containers.find(prefix)
        for part in ("a", "a" * 12, "a" * 63):
            with pytest.raises(InvalidRequest):
                store.containers.whole(part)
        for other in ("", "b", "A" * 64, "../" + "a" * 61, "a" * 64 + "\n"):
            assert store.containers.whole(other) is None
        with pytest.raises(AlreadyReserved):
            store.containers.add(record("b" * 64, "one"))
        store.containers.remove("a" * 64)
        store.containers.add(record("b" * 64, "one"))


# --- CR-09: annotations and device requests -----------------------------------------------------------

HOSTILE = {
    "ociworks.io/x": "1",
    "allowed.evil": "1",
    "allowed/evil": "1",
    "Allowed": "1",
    "org.systemd.property.ExecStartPre": "'/bin/sh'",
    "run.oci.handler": "krun",
    "io.kubernetes.cri-o.Devices": "/dev/sda",
    "io.kubernetes.cri.sandbox-id": "another",
    "cdi.k8s.io/x": "vendor.example/gpu=0",
    "x\ny": "1",
}


def annotations_of(**settings: Any) -> dict[str, str]:
    return dict(translated(**settings).spec.annotations)


def test_cr_09_nothing_is_passed_on_by_default() -> None:
    """Of container and pod; what is there are this server's own facts."""
    pod = api.PodSandboxConfig(annotations=HOSTILE)
    found = annotations_of(annotations=HOSTILE, pod=pod)
    assert all(name.startswith(OWN) for name in found)
    assert found[f"{OWN}sandbox-id"] == "5" * 64


def test_cr_09_exactly_what_the_handler_allows() -> None:
    """No prefix, no other case, no suffix; and the server's own facts cannot be taken over."""
    handler = Handler(annotations=("allowed", f"{OWN}sandbox-id"))
    pod = api.PodSandboxConfig(annotations={**HOSTILE, "allowed": "pod"})
    found = annotations_of(annotations=HOSTILE, pod=pod, handler=handler)
    assert {name: value for name, value in found.items() if not name.startswith(OWN)} == {"allowed": "pod"}
    assert found[f"{OWN}sandbox-id"] == "5" * 64
    both = annotations_of(annotations={"allowed": "container"}, pod=pod, handler=handler)
    assert both["allowed"] == "container"


def test_cr_09_labels_of_the_image_are_no_orders() -> None:
    found = annotations_of(image=image(labels={"org.systemd.property.X": "1", "plain": "1"}))
    assert all(name.startswith(OWN) for name in found)


@pytest.fixture
def vendors(tmp_path: Path) -> CriConfig:
    """One device, described by the administrator."""
    document = {
        "cdiVersion": "0.6.0",
        "kind": "vendor.example/gpu",
        "containerEdits": {"env": ["VENDOR=yes"]},
        "devices": [
            {
                "name": "0",
                "containerEdits": {
                    "deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/null", "permissions": "rw"}],
                    "mounts": [{"hostPath": "/srv/lib", "containerPath": "/usr/lib/gpu"}],
                },
            },
            {"name": "1", "containerEdits": {"env": ["ONE=yes"]}},
        ],
    }
    with open(tmp_path / "vendor.json", "x") as file:
        json.dump(document, file)
    return CriConfig(cdi_spec_dirs=(str(tmp_path), str(tmp_path / "missing")))


def test_cr_09_devices_that_are_described(vendors: CriConfig) -> None:
    """The edits of the file once, and those of each device."""
    names = [api.CDIDevice(name=f"vendor.example/gpu={number}") for number in "01"]
    made = translated(CDI_devices=names, server=vendors).spec
    assert made.process is not None
    assert made.process.env[-2:] == ("VENDOR=yes", "ONE=yes")
    assert made.linux is not None
    assert [device.path for device in made.linux.devices] == ["/dev/gpu0"]
    assert made.linux.resources is not None
    assert made.linux.resources.devices[-1].access == "rw"
    assert made.mounts[-1].options == ("rbind", "ro", "nosuid", "nodev")


@pytest.mark.parametrize(
    "names",
    [
        ["vendor.example/gpu=2"],
        ["other.example/gpu=0"],
        ["vendor.example/gpu=0", "vendor.example/gpu=0"],
        ["vendor.example/gpu"],
        ["vendor.example/gpu=0=1"],
        ["vendor.example/gpu=0\n"],
        ["../gpu=0"],
        [""],
    ],
)
def test_cr_09_devices_that_are_not(vendors: CriConfig, names: list[str]) -> None:
    with pytest.raises(InvalidRequest):
        translated(CDI_devices=[api.CDIDevice(name=name) for name in names], server=vendors)


YAML = """\
---
cdiVersion: 0.6.0
kind: vendor.example/nic
containerEdits:
  env: [VENDOR=yes]
devices:
  - name: "0"
    containerEdits:
      deviceNodes:
        - {path: /dev/nic0, hostPath: /dev/null, permissions: rw, fileMode: 0644, major: 0x1}
"""


def test_cr_09_devices_that_are_described_in_yaml(vendors: CriConfig) -> None:
    """As in JSON, beside files of that."""
    (Path(vendors.cdi_spec_dirs[0]) / "nic.yaml").write_text(YAML)
    names = [api.CDIDevice(name=f"vendor.example/{name}=0") for name in ("nic", "gpu")]
    made = translated(CDI_devices=names, server=vendors).spec
    assert made.linux is not None
    assert [device.path for device in made.linux.devices] == ["/dev/nic0", "/dev/gpu0"]
    assert (made.linux.devices[0].file_mode, made.linux.devices[0].major) == (0o644, 1)


@pytest.mark.parametrize(
    "text",
    [
        YAML.replace("cdiVersion", "cdiVersion: 0.6.0\ncdiVersion"),
        YAML.replace("[VENDOR=yes]", "&a [*a, *a]"),
        YAML.replace("/dev/null", "!!python/object/apply:os.system [id]"),
        YAML + YAML,
        YAML.replace("[VENDOR=yes]", "[" * 100 + "]" * 100),
        YAML + " " * (1 << 20),
        YAML.replace("rw", "no"),
        "devices: [",
    ],
    ids=["twice", "cycle", "tag", "two", "deep", "long", "word", "broken"],
)
def test_cr_09_descriptions_that_are_no_plain_yaml(vendors: CriConfig, text: str) -> None:
    """The request is refused, and the file named."""
    (Path(vendors.cdi_spec_dirs[0]) / "nic.yaml").write_text(text)
    with pytest.raises(InvalidRequest, match=r"nic\.yaml"):
        translated(CDI_devices=[api.CDIDevice(name="vendor.example/nic=0")], server=vendors)


def test_cr_09_descriptions_that_others_may_write(vendors: CriConfig) -> None:
    """A file that is not the administrator's alone counts for nothing: the request is refused."""
    (Path(vendors.cdi_spec_dirs[0]) / "vendor.json").chmod(0o666)
    with pytest.raises(InvalidRequest):
        translated(CDI_devices=[api.CDIDevice(name="vendor.example/gpu=0")], server=vendors)


# --- CR-10: security profiles -------------------------------------------------------------------------


def filter_of(server: CriConfig | None = None, **security: Any) -> Seccomp | None:
    section = translated(linux=linux(**security), server=server or CriConfig()).spec.linux
    assert section is not None
    return section.seccomp


@pytest.fixture
def profiles(tmp_path: Path) -> CriConfig:
    root = tmp_path / "seccomp"
    root.mkdir()
    with open(root / "good.json", "xb") as file:
        file.write(to_json(Seccomp(default_action="SCMP_ACT_ALLOW")))
    with open(tmp_path / "outside.json", "xb") as file:
        file.write(to_json(Seccomp(default_action="SCMP_ACT_ALLOW")))
    with open(root / "bad.json", "x") as file:
        file.write("{")
    with open(root / "none.json", "x") as file:
        file.write('{"defaultAction": "SCMP_ACT_NO_SUCH"}')
    with open(root / "large.json", "x") as file:
        file.truncate(1 << 30)
    (root / "link.json").symlink_to("../outside.json")
    (root / "directory").symlink_to("..")
    os.mkfifo(root / "fifo.json")
    return CriConfig(seccomp_profile_root=str(root))


def localhost(name: str) -> api.SecurityProfile:
    return api.SecurityProfile(profile_type=PROFILES.Localhost, localhost_ref=name)


def test_cr_10_profiles_that_are(profiles: CriConfig) -> None:
    """By a path below the directory, and by the absolute one that a kubelet gives."""
    root = profiles.seccomp_profile_root
    for name in ("good.json", f"{root}/good.json"):
        found = filter_of(profiles, seccomp=localhost(name))
        assert found is not None
        assert found.default_action == "SCMP_ACT_ALLOW"
    assert filter_of(profiles, seccomp_profile_path="localhost/good.json") is not None
    default = filter_of(seccomp=api.SecurityProfile())
    assert default is not None
    assert default.default_action == "SCMP_ACT_ERRNO"
    assert filter_of(seccomp_profile_path="runtime/default") == default
    assert filter_of(seccomp=api.SecurityProfile(profile_type=PROFILES.Unconfined)) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../outside.json",
        "{root}/../outside.json",
        "{outside}",
        "/etc/passwd",
        "missing.json",
        "bad.json",
        "none.json",
        "large.json",
        "link.json",
        "directory/outside.json",
        "fifo.json",
        ".",
        "a\0b",
    ],
)
def test_cr_10_localhost_profiles_that_are_none(profiles: CriConfig, name: str) -> None:
    """Never unconfined instead, never a program of the host, never blocked."""
    root = Path(profiles.seccomp_profile_root)
    text = name.format(root=root, outside=root.parent / "outside.json")
    with pytest.raises((InvalidRequest, ValueError)):
        filter_of(profiles, seccomp=localhost(text))
    with pytest.raises((InvalidRequest, ValueError)):
        filter_of(profiles, seccomp=localhost(text), privileged=True)


@pytest.mark.parametrize(
    "security",
    [
        {"seccomp": api.SecurityProfile(profile_type=7)},  # type: ignore[arg-type]
        {"seccomp": api.SecurityProfile(localhost_ref="x")},
        {"seccomp": api.SecurityProfile(), "seccomp_profile_path": "unconfined"},
        {"seccomp_profile_path": "Unconfined"},
        {"seccomp_profile_path": "localhost/"},
        {"apparmor": api.SecurityProfile(profile_type=7)},  # type: ignore[arg-type]
        {"apparmor": localhost("")},
        {"apparmor": localhost("a\nb")},
        {"apparmor": localhost("a b")},
        {"apparmor": localhost("localhost/")},
        {"apparmor": localhost("mine"), "apparmor_profile": "unconfined"},
        {"apparmor_profile": "localhost/"},
        {"apparmor_profile": "nonsense"},
        {"apparmor": api.SecurityProfile(), "apparmor_profile": "unconfined"},
        {"selinux_options": api.SELinuxOption(user="a:b")},
        {"selinux_options": api.SELinuxOption(type="a\nb")},
        {"selinux_options": api.SELinuxOption(level="s0\n")},
        {"selinux_options": api.SELinuxOption(level="s0 c1")},
        {"capabilities": api.Capability(add_capabilities=["NO_SUCH"])},
        {"masked_paths": ["relative"]},
        {"readonly_paths": ["/a/../b"]},
    ],
)
def test_cr_10_fields_that_mean_nothing(security: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        translated(linux=linux(**security))


def test_cr_10_apparmor_that_would_not_be_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    """A named profile on a kernel without AppArmor is an error; the default one is none there."""
    from ociworks.cri.container.translate import labels

    monkeypatch.setattr(labels, "apparmor_enabled", lambda: False)
    with pytest.raises(NotSupported):
        translated(linux=linux(apparmor=localhost("mine")))
    made = translated(linux=linux(apparmor=api.SecurityProfile())).spec
    assert made.process is not None
    assert made.process.apparmor_profile is None
    monkeypatch.setattr(labels, "apparmor_enabled", lambda: True)
    named = translated(linux=linux(apparmor_profile="localhost/mine")).spec
    assert named.process is not None
    assert named.process.apparmor_profile == "mine"
    for ref, old in (("mine", ""), ("localhost/mine", ""), ("localhost/mine", "localhost/other")):
        both = translated(linux=linux(apparmor=localhost(ref), apparmor_profile=old)).spec
        assert both.process is not None
        assert both.process.apparmor_profile == "mine"
    unconfined = api.SecurityProfile(profile_type=PROFILES.Unconfined)
    free = translated(linux=linux(apparmor=unconfined)).spec
    assert free.process is not None
    assert free.process.apparmor_profile == "unconfined"


def test_cr_10_selinux_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    from ociworks.cri.container.translate import labels

    monkeypatch.setattr(labels, "selinux_enabled", lambda: True)
    made = translated(linux=linux(selinux_options=api.SELinuxOption(type="t", level="s0:c1,c2"))).spec
    assert made.process is not None
    assert made.process.selinux_label == "system_u:system_r:t:s0:c1,c2"
    assert made.linux is not None
    assert made.linux.mount_label == "system_u:object_r:container_file_t:s0:c1,c2"


# --- CR-11: run-as identity ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "security",
    [
        {"run_as_user": api.Int64Value(value=1), "run_as_username": "root"},
        {"run_as_group": api.Int64Value(value=1)},
        *({"run_as_user": api.Int64Value(value=value)} for value in (-1, 2**31, 2**32, 2**63 - 1)),
        *(
            {"run_as_user": api.Int64Value(value=1), "run_as_group": api.Int64Value(value=value)}
            for value in (-1, 2**31, 2**32)
        ),
        *(
            {"run_as_username": name}
            for name in ("0", "1000", "+0", "root ", "-1", "root:0", "0x0", "\u0660")
        ),
        {"supplemental_groups": [-1]},
        {"supplemental_groups": [2**32]},
        {"supplemental_groups_policy": 7},
    ],
)
def test_cr_11_identities_that_are_none(security: dict[str, Any]) -> None:
    """Contradictions, numbers out of range and digits as names: never root instead."""
    with pytest.raises(InvalidRequest):
        translated(linux=linux(**security))


@pytest.mark.parametrize("user", ["4294967296", "2147483648", "-1", "+0", "root ", "0:4294967296"])
def test_cr_11_identities_of_an_image_that_are_none(user: str) -> None:
    with pytest.raises(ImageConfigError):
        translated(image=image(user=user))


def test_cr_11_a_second_start_is_the_same() -> None:
    """Also when the image says who, and the request does not."""
    again = [translated(image=image(user="1000:7")).user for _ in range(2)]
    assert again[0] == again[1]
    assert (again[0].uid, again[0].gid) == (1000, 7)


# --- CR-12: host paths, image volumes, relabelling ----------------------------------------------------


def find(*mounts: api.Mount, rro: bool = True) -> tuple[Source, ...]:
    return find_sources(mounts, image_path=lambda _: "/x", recursive_read_only=lambda: rro)


def mount(path: object, place: str = "/data", **settings: Any) -> api.Mount:
    return api.Mount(host_path=str(path), container_path=place, **settings)


@pytest.mark.parametrize(
    "path", ["relative", "/proc/self/root/etc", "/proc/self/cwd", "/proc/self/fd/0", "/a/../etc", "", "/a\0b"]
)
def test_cr_12_host_paths(path: str) -> None:
    """Relative ones, and the kernel's links into processes, are refused."""
    with pytest.raises(InvalidRequest):
        find(mount(path))


def test_cr_12_sources_are_found_once(tmp_path: Path) -> None:
    """A link is followed when it is looked at; what it leads to later does not count."""
    (tmp_path / "one").mkdir()
    (tmp_path / "link").symlink_to("one")
    found = find(mount(tmp_path / "link"))
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("/etc")
    made = translated(sources=found).spec
    assert next(each for each in made.mounts if each.destination == "/data").source == str(tmp_path / "one")


@pytest.mark.parametrize(
    "place", ["", "/", "//", "/a/../b", "..", "/proc/sys", "/proc/self", "/a\0b", "/" + "x" * 5000]
)
def test_cr_12_places_in_the_container(tmp_path: Path, place: str) -> None:
    with pytest.raises(InvalidRequest):
        find(mount(tmp_path, place))


@pytest.mark.parametrize("again", ["/data", "/data/", "//data", "/./data", "data"])
def test_cr_12_places_that_are_named_twice(tmp_path: Path, again: str) -> None:
    with pytest.raises(InvalidRequest):
        find(mount(tmp_path), mount(tmp_path, again))


def test_cr_12_guarantees_that_are_not_given(tmp_path: Path) -> None:
    """An error, never a weaker mount."""
    closed = mount(tmp_path, readonly=True, recursive_read_only=True)
    assert find(closed)
    with pytest.raises(NotSupported):
        find(closed, rro=False)
    shared = api.MountPropagation.PROPAGATION_BIDIRECTIONAL
    slave = api.MountPropagation.PROPAGATION_HOST_TO_CONTAINER
    for wrong in (
        mount(tmp_path, recursive_read_only=True),
        mount(tmp_path, readonly=True, recursive_read_only=True, propagation=slave),
        mount(tmp_path, propagation=7),
        mount("/proc/self", propagation=shared),
        mount(tmp_path, mount_options=["suid"]),
        mount(tmp_path, mount_options=["lowerdir=/etc"]),
        mount(tmp_path, uidMappings=[api.IDMapping(length=1)]),
        mount(tmp_path, image=api.ImageSpec(image="x"), readonly=True),
        mount("", image=api.ImageSpec(image="x")),
        mount("", image=api.ImageSpec(image="x"), readonly=True, propagation=shared),
        mount(tmp_path, image_sub_path="x"),
    ):
        with pytest.raises(InvalidRequest):
            find(wrong)


@pytest.mark.parametrize("path", ["/", "/etc", "/usr", "/var/lib", "/proc", "/dev"])
def test_cr_12_relabelling_of_the_host(path: str) -> None:
    """Refused whether or not this kernel has labels."""
    with pytest.raises(InvalidRequest):
        find(mount(path, selinux_relabel=True))


@pytest.mark.parametrize(
    "volume", ["/../../x", "/", "/proc", "/proc/x", "/sys/fs/cgroup", "/dev", "/a\nb", ""]
)
def test_cr_12_volumes_of_an_image(tmp_path: Path, volume: str) -> None:
    """No directory is made for a place that is none."""
    from ociworks.cri.container.volumes import make_volumes

    with pytest.raises(ImageConfigError):
        make_volumes(str(tmp_path / "volumes"), image(volumes=(volume,)), None, ())  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []


@pytest.mark.root
def test_cr_12_a_volume_where_the_image_has_a_link(tmp_path: Path) -> None:
    """``/a`` with ``a -> /etc`` gives the image's /etc, never the host's."""
    from ociworks.cri.container.volumes import make_volumes
    from ociworks.image.store import Snapshots
    from ociworks.testing import File, image_from_files

    made = image_from_files(
        {
            "a": File(link="/etc"),
            "up": File(link="../../../../etc"),
            "loop": File(link="loop"),
            "gone": File(link="/nowhere"),
            "etc/mine": b"image",
        }
    )
    with Snapshots(tmp_path / "snapshots") as snapshots, snapshots.prepare(made) as snapshot:
        places = ("/a", "/up", "/loop", "/gone")
        found = make_volumes(str(tmp_path / "volumes"), image(volumes=places), snapshot, ())
    assert {place: sorted(os.listdir(path)) for place, path in found.items()} == {
        "/a": ["mine"],
        "/up": ["mine"],
        "/loop": [],
        "/gone": [],
    }


# --- all of them --------------------------------------------------------------------------------------


@given(st.data())
def test_cr_10_random_messages_are_judged_by_type(data: st.DataObject) -> None:
    """Whatever bytes a message is read from, the answer is a configuration or an error of ours."""
    raw = data.draw(st.binary(max_size=200))
    config = api.ContainerConfig()
    try:
        config.MergeFromString(raw)
    except Exception:  # noqa: BLE001 - not a message at all: the servicer never sees it
        return
    try:
        made = translated(config=config)
    except (OciworksError, ValueError):
        return
    assert made.spec.process is not None
    assert request().id
