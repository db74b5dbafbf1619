"""Plans as data: what they say, in which order, and what is refused before anything exists. No rights needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks.runtime import Runtime, plan
from ociworks.runtime._init.execute import OPERATIONS
from ociworks.runtime.plan import ops
from ociworks.spec.defaults import default_spec
from ociworks.spec.runtime import Hook, Hooks, IDMapping, Linux, Mount, Namespace
from tests.runtime.boxes import changed, with_linux, with_process


@pytest.fixture
def bundle(tmp_path: Path) -> spec.Bundle:
    """A bundle that is never run."""
    (tmp_path / "bundle/rootfs").mkdir(parents=True)
    return spec.Bundle.create(tmp_path / "bundle", default_spec(rootless=os.geteuid() != 0))


def names(bundle: spec.Bundle, *, wait: bool = True) -> list[str]:
    return [op.name for op in plan.build(bundle, "plan", wait=wait).operations]


def test_every_operation_has_an_executor() -> None:
    """What a plan can say and what the init can do are the same list."""
    builders = {name for name in ops.__all__ if name.islower()}
    assert builders == set(OPERATIONS)


def test_the_order(bundle: spec.Bundle) -> None:
    """RT-25: mounts, groups before they are shown, pivot, limits, privileges, identity, filter, program."""
    found = names(bundle)
    order = [
        "keyring",
        "session",
        "pin_root",
        "join_cgroups",
        "make_device" if os.geteuid() == 0 else "bind_device",
        "prepare_cwd",
        "read_only",
        "mask",
        "pivot",
        "rlimit",
        "wait_start",
        "no_new_privileges",
        "close_descriptors",
        "bounding",
        "identity",
        "capability_sets",
        "umask",
        "seccomp",
        "execute",
    ]
    places = [found.index(name) for name in order]
    assert places == sorted(places)
    assert found[-1] == "execute"
    if "cgroup_tree" in found:
        assert found.index("join_cgroups") < found.index("unshare") < found.index("cgroup_tree")


def test_a_filter_that_needs_privilege_comes_early(bundle: spec.Bundle) -> None:
    """Without no-new-privileges only a privileged process may install one."""
    found = names(with_process(bundle, no_new_privileges=False))
    assert found.index("seccomp") < found.index("bounding")


def test_a_run_does_not_wait(bundle: spec.Bundle) -> None:
    """Create stops before the program, run goes through."""
    assert "wait_start" in names(bundle)
    assert "wait_start" not in names(bundle, wait=False)


def test_it_can_be_printed(bundle: spec.Bundle) -> None:
    """One line for each operation; programs by their length."""
    with Runtime(bundle.path / "root") as runtime:
        found = runtime.plan(bundle, "shown")
    text = str(found)
    assert text.startswith(f"container shown\nbundle {bundle.path}\n")
    for op in found.operations:
        assert f" {op.name}" in text
    assert max(len(line) for line in text.splitlines()) < 400
    for ways in found.cgroup.settings:
        assert f"set {ways[0][0]} = " in text
    assert not (bundle.path / "root").exists()


def test_it_is_a_value(bundle: spec.Bundle) -> None:
    """The same configuration gives the same plan, another ID changes only what has the ID in it."""
    first, again, other = (plan.build(bundle, name) for name in ("one", "one", "two"))
    assert first == again
    differing = [a.name for a, b in zip(first.operations, other.operations, strict=True) if a != b]
    assert set(differing) <= {"keyring", "join_cgroups", "cgroup_tree"}


def test_each_configuration_is_judged_for_itself(bundle: spec.Bundle) -> None:
    """A changed configuration is looked at again, however often its origin was planned."""
    for _ in range(3):
        plan.build(bundle, "x")
    with pytest.raises(errors.InvalidSpec):
        plan.build(with_process(bundle, cwd="nowhere"), "x")
    plan.build(bundle, "x")


def test_all_problems_at_once(bundle: spec.Bundle) -> None:
    """Three mistakes, three problems, each with its path."""
    wrong = with_process(changed(bundle, hostname="-"), cwd="no", args=())
    with pytest.raises(errors.InvalidSpec) as caught:
        plan.build(wrong, "x")
    assert {problem.path for problem in caught.value.problems} >= {"$.process.cwd", "$.process.args"}
    assert str(bundle.path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"intel_rdt": spec.runtime.IntelRdt()}, "intelRdt"),
        ({"mount_label": "system_u:object_r:container_file_t:s0"}, "mountLabel"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_supported_is_refused(bundle: spec.Bundle, change: dict[str, object], path: str) -> None:
    """By its path in the configuration, never ignored."""
    with pytest.raises(errors.NotSupported, match=rf"\$\.linux\.{path}"):
        plan.build(with_linux(bundle, **change), "x")


def test_namespaces_that_make_no_sense(bundle: spec.Bundle) -> None:
    """A kind twice, a kind that is none."""
    for kinds in (("mount", "mount"), ("mount", "nonsense")):
        wrong = with_linux(bundle, namespaces=tuple(Namespace(type=kind) for kind in kinds), seccomp=None)
        with pytest.raises(errors.OciworksError, match="amespace"):
            plan.build(changed(wrong, mounts=()), "x")


@pytest.mark.parametrize(
    "maps",
    [
        (),
        (IDMapping(container_id=0, host_id=0, size=0),),
        (IDMapping(container_id=0, host_id=1000, size=10), IDMapping(container_id=5, host_id=2000, size=10)),
        (IDMapping(container_id=0, host_id=1000, size=10), IDMapping(container_id=50, host_id=1005, size=10)),
        (IDMapping(container_id=0, host_id=2**32 - 2, size=10),),
    ],
    ids=["none", "empty", "overlap inside", "overlap outside", "too far"],
)
def test_rt_28_maps_are_judged_first(bundle: spec.Bundle, maps: tuple[IDMapping, ...]) -> None:
    """Ranges that overlap, are empty or do not exist never reach the kernel."""
    kinds = ("user", "mount", "pid")
    wrong = with_linux(
        bundle, namespaces=tuple(Namespace(type=kind) for kind in kinds), uid_mappings=maps, gid_mappings=maps
    )
    with pytest.raises(errors.OciworksError, match="apping"):
        plan.build(wrong, "x")


def test_without_a_process_or_root(bundle: spec.Bundle) -> None:
    """A configuration may leave them out; a container cannot."""
    for name in ("process", "root"):
        with pytest.raises(errors.InvalidSpec, match=rf"\$\.{name}"):
            plan.build(changed(bundle, **{name: None}), "x")


def test_hooks_carry_the_state(bundle: spec.Bundle) -> None:
    """The state is fixed in the plan but for the pid, which only the init knows."""
    hooked = changed(bundle, hooks=Hooks(create_container=(Hook(path="/bin/true", timeout=3),)))
    op = next(op for op in plan.build(hooked, "with-hook").operations if op.name == "hook")
    cut = op.args[-1]
    assert isinstance(cut, tuple)
    state = spec.parse(spec.runtime.State, b"77".join(part for part in cut if isinstance(part, bytes)))
    assert (state.id, state.status, state.pid) == ("with-hook", "creating", 77)


def test_mount_options_become_attributes(bundle: spec.Bundle) -> None:
    """What the kernel's mount attributes know is not passed to the file system."""
    options = ("nosuid", "noexec", "nodev", "ro", "size=4k", "strictatime")
    mounts = (Mount(destination="/m", type="tmpfs", source="t", options=options),)
    op = next(
        op for op in plan.build(changed(bundle, mounts=mounts), "x").operations if op.name == "filesystem"
    )
    assert op.args[3] == (("size", "4k"),)


def test_an_empty_linux_section_leaves_the_mounts_of_the_host_alone(bundle: spec.Bundle) -> None:
    """All namespaces are inherited, as the specification says; so the root is a tree that is mounted nowhere."""
    shared = changed(bundle, linux=Linux(), mounts=(), hostname=None)
    if tuple(map(int, os.uname().release.split(".")[:2])) < (6, 15):
        with pytest.raises(errors.NotSupported, match="mount namespace"):
            plan.build(shared, "x")
        return
    found = set(names(shared))
    assert {"hold_root", "enter_root"} <= found
    assert not found & {"pin_root", "pivot", "move_root", "filesystem", "root_propagation"}


def test_users_by_name(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Nothing on Linux reads ``username``, so it is refused, not ignored."""
    named = with_process(bundle, user=spec.runtime.User(username="bob"))
    with pytest.raises(errors.NotSupported, match=r"\$\.process\.user\.username"):
        runtime.plan(named)
