"""``features`` is true: it follows the schema, and says what the plan accepts and refuses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from ociworks import errors, spec
from ociworks.runtime import Runtime, plan
from ociworks.spec.defaults import default_spec
from ociworks.spec.runtime import (
    Features,
    Hook,
    Hooks,
    IDMapping,
    LinuxFeatures,
    Mount,
    Namespace,
    Seccomp,
    Syscall,
)
from tests.runtime.boxes import changed, with_linux, with_process
from tests.runtime.commands import program
from tests.spec.schemas import complaints, needs_schemas


@pytest.fixture
def bundle(tmp_path: Path) -> spec.Bundle:
    (tmp_path / "bundle/rootfs").mkdir(parents=True)
    return spec.Bundle.create(tmp_path / "bundle", default_spec())


@pytest.fixture
def found(tmp_path: Path) -> Features:
    return Runtime(tmp_path / "root").features()


@pytest.fixture
def linux(found: Features) -> LinuxFeatures:
    assert found.linux is not None
    return found.linux


def accepted(bundle: spec.Bundle) -> bool:
    try:
        plan.build(bundle, "probe")
    except (errors.NotSupported, errors.InvalidSpec):
        return False
    return True


def test_the_document(found: Features) -> None:
    """It is valid, survives a round trip, and names the version that we read."""
    assert not spec.validate(found)
    raw = spec.to_json(found)
    assert spec.parse(Features, raw) == found
    assert json.loads(raw)["ociVersionMax"] == spec.runtime.VERSION
    assert json.loads(raw)["hooks"] == [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ]


@needs_schemas
def test_the_schema(found: Features, tmp_path: Path) -> None:
    """Another validator finds nothing wrong with it, nor with what the command prints; it does with a wrong one."""
    printed = subprocess.run(
        [program(tmp_path), "features"], capture_output=True, timeout=60, check=True
    ).stdout
    document = json.loads(printed)
    assert document == json.loads(spec.to_json(found))
    assert complaints("features-schema.json", document) == []
    wrong = {**document, "linux": {**document["linux"], "namespaces": "mount"}}
    assert complaints("features-schema.json", wrong)


def test_mount_options(found: Features, bundle: spec.Bundle) -> None:
    """Each named option is taken by a plan, and a made-up one by no bind mount."""
    assert found.mount_options
    for option in found.mount_options:
        maps = (IDMapping(container_id=0, host_id=1000, size=1),) if option in ("idmap", "ridmap") else ()
        bind = Mount(
            destination="/m",
            type="bind",
            source="/tmp",
            options=("rbind", option),
            uid_mappings=maps,
            gid_mappings=maps,
        )
        fresh = Mount(destination="/m", type="tmpfs", source="t", options=(option,))
        assert accepted(changed(bundle, mounts=(bind,))) or accepted(changed(bundle, mounts=(fresh,))), option
    wrong = Mount(destination="/m", type="bind", source="/tmp", options=("rbind", "made-up"))
    assert not accepted(changed(bundle, mounts=(wrong,)))


def test_namespaces_and_capabilities(linux: LinuxFeatures, bundle: spec.Bundle) -> None:
    """Exactly the named kinds; capabilities are those of the newest kernel that we know."""
    assert linux.namespaces == ("cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts")
    assert not accepted(with_linux(bundle, namespaces=(Namespace(type="mount"), Namespace(type="made-up"))))
    assert linux.capabilities
    assert len(linux.capabilities) == 41
    sets = spec.runtime.Capabilities(bounding=("CAP_MADE_UP",))
    assert not accepted(with_process(bundle, capabilities=sets))


def test_seccomp(linux: LinuxFeatures, bundle: spec.Bundle) -> None:
    """Every action, operator, architecture and flag that is named compiles; made-up ones do not."""
    assert linux.seccomp is not None
    rules = linux.seccomp
    for action in rules.actions or ():
        listener = "/l" if action == "SCMP_ACT_NOTIFY" else None
        profile = Seccomp(
            default_action="SCMP_ACT_ALLOW",
            listener_path=listener,
            syscalls=(Syscall(names=("getcwd",), action=action),),
        )
        assert accepted(with_linux(bundle, seccomp=profile)), action
    for flag in (*(rules.supported_flags or ()), "made-up"):
        flags = (flag,)
        profile = Seccomp(default_action="SCMP_ACT_ALLOW", flags=flags)
        if flag == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV":
            continue
        assert accepted(with_linux(bundle, seccomp=profile)) is (flag != "made-up"), flag


Ask = Callable[[spec.Bundle], spec.Bundle]
SECTIONS: dict[str, Ask] = {
    "apparmor": lambda bundle: with_process(bundle, apparmor_profile="no-such-profile"),
    "selinux": lambda bundle: with_process(bundle, selinux_label="a:b:c"),
    "intel_rdt": lambda bundle: with_linux(bundle, intel_rdt=spec.runtime.IntelRdt(clos_id="x")),
    "net_devices": lambda bundle: with_linux(bundle, net_devices={"no-such": spec.runtime.NetDevice()}),
}


@pytest.mark.parametrize("name", SECTIONS)
def test_sections(linux: LinuxFeatures, name: str) -> None:
    """We can do it, where the kernel can."""
    assert getattr(linux, name).enabled


@pytest.mark.parametrize("name", SECTIONS)
def test_what_this_host_cannot_do_is_refused(bundle: spec.Bundle, name: str) -> None:
    """Before anything exists: there is no such profile, policy, file system or device."""
    assert not accepted(SECTIONS[name](bundle))


def test_memory_policies(linux: LinuxFeatures, bundle: spec.Bundle) -> None:
    """Every mode and flag that is named is taken by a plan."""
    assert linux.memory_policy is not None
    for mode in linux.memory_policy.modes or ():
        nodes = None if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") else "0"
        policy = spec.runtime.MemoryPolicy(mode=mode, nodes=nodes)
        assert accepted(with_linux(bundle, memory_policy=policy)), mode
    for flag in linux.memory_policy.flags or ():
        policy = spec.runtime.MemoryPolicy(mode="MPOL_BIND", nodes="0", flags=(flag,))
        assert accepted(with_linux(bundle, memory_policy=policy)), flag


def test_all_hooks_run(found: Features, bundle: spec.Bundle) -> None:
    """Every named hook is a member of the configuration, and is accepted."""
    names = [field.name for field in attrs.fields(Hooks) if field.name != "extra"]
    given: dict[str, Any] = {name: (Hook(path="/bin/true"),) for name in names}
    hooks = Hooks(**given)
    assert len(found.hooks or ()) == len(names)
    assert accepted(changed(bundle, hooks=hooks))
