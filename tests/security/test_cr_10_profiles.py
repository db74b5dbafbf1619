"""CR-10: security profiles that a request names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.cri.config import CriConfig
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, NotSupported, OciworksError
from ociworks.spec import to_json
from ociworks.spec.runtime import Seccomp
from tests.cri.requests import linux, request, translated


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
    return api.SecurityProfile(profile_type=api.SecurityProfile.ProfileType.Localhost, localhost_ref=name)


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
    assert (
        filter_of(seccomp=api.SecurityProfile(profile_type=api.SecurityProfile.ProfileType.Unconfined))
        is None
    )


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
    unconfined = api.SecurityProfile(profile_type=api.SecurityProfile.ProfileType.Unconfined)
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
