"""Attacks on the root of a container and on maps of owners, and kernels that lack a call (RT-28, RT-30, RT-33)."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from ociworks import errors, spec
from ociworks.runtime import Runtime, plan
from ociworks.spec.runtime import IDMapping, Mount, Namespace, Root
from tests.runtime.boxes import changed, mounted, nothing_left, with_linux
from tests.security.mounts import tmpfs
from tests.source_tree import CHECKOUT

pytestmark = pytest.mark.root


MAPS = {
    "overlapping inside": ((0, 1000, 10), (5, 2000, 10)),
    "overlapping outside": ((0, 1000, 10), (50, 1005, 10)),
    "empty": ((0, 1000, 0),),
    "too far": ((0, 2**32 - 5, 10),),
    "the last number": ((2**32 - 1, 0, 1),),
    "too many": tuple((n * 2, 1000 + n * 2, 1) for n in range(400)),
}


@pytest.mark.parametrize("case", MAPS)
@pytest.mark.parametrize("member", ["linux", "mount"])
def test_rt_28_maps_that_are_none(bundle: spec.Bundle, case: str, member: str) -> None:
    """Of the container and of a mount: judged before anything exists, with the member's path."""
    maps = tuple(IDMapping(container_id=a, host_id=b, size=size) for a, b, size in MAPS[case])
    if member == "linux":
        linux = bundle.spec.linux
        assert linux is not None
        namespaces = (*linux.namespaces, Namespace(type="user"))
        wrong = with_linux(bundle, namespaces=namespaces, uid_mappings=maps, gid_mappings=maps)
    else:
        wrong = mounted(
            bundle,
            Mount(
                destination="/mnt",
                type="bind",
                source="/tmp",
                options=("bind",),
                uid_mappings=maps,
                gid_mappings=maps,
            ),
        )
    with pytest.raises(errors.InvalidSpec, match=r"[ug]idMappings"):
        plan.build(wrong, "x")


def test_rt_28_helpers_are_found_by_fixed_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program planted early in PATH is not the helper."""
    for name in ("newuidmap", "newgidmap"):
        (tmp_path / name).write_text("#!/bin/sh\ntouch /tmp/planted\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    from ociworks.runtime.plan.namespaces import id_maps

    maps = (
        IDMapping(container_id=0, host_id=1000, size=1),
        IDMapping(container_id=1, host_id=100_000, size=10),
    )
    try:
        found = id_maps(spec.runtime.Linux(uid_mappings=maps, gid_mappings=maps))
    except errors.MissingDependency:
        return
    assert found.helpers is not None
    assert all(not helper.startswith(str(tmp_path)) and helper.startswith("/") for helper in found.helpers)


@pytest.mark.parametrize("path", ["/", "link", "file", "missing", "", "../../../../../../../../../../"])
def test_rt_30_roots_that_are_none(runtime: Runtime, bundle: spec.Bundle, outside: Path, path: str) -> None:
    """The host's root by any name, a link, a file, nothing."""
    (bundle.path / "link").symlink_to(outside)
    (bundle.path / "file").write_text("")
    with pytest.raises((errors.CreateFailed, errors.InvalidSpec)):
        runtime.create("root", changed(bundle, root=Root(path=path)))


@pytest.mark.parametrize("no_pivot", [False, True])
def test_rt_30_the_old_root_is_gone(runtime: Runtime, bundle: spec.Bundle, no_pivot: bool) -> None:
    """Nobody in the container has the host's root as root or directory, and its mounts cannot be seen."""
    marker = f"host-{os.getpid()}"
    script = (
        "cd /../../..; ls; for p in /proc/[0-9]*; do ls $p/root/ $p/cwd/; done; cut -d' ' -f5 /proc/self/mountinfo;"
        "umount /; ls /; true"
    )
    assert bundle.spec.process is not None
    process = attrs.evolve(bundle.spec.process, args=("sh", "-c", f"({script}) > /out 2>&1"))
    with runtime.create_from(
        plan.build(changed(bundle, process=process), marker, no_pivot=no_pivot)
    ) as container:
        container.start()
        container.wait(timeout=60)
    output = (bundle.rootfs / "out").read_text()
    assert str(bundle.path) not in output
    assert "boot" not in output.split()


@pytest.mark.parametrize("target", ["/", "/.", "/a/..", "/root-link"])
def test_rt_30_nothing_stacks_on_the_root(runtime: Runtime, bundle: spec.Bundle, target: str) -> None:
    """A mount on the root itself, by name or through a link, is refused."""
    (bundle.rootfs / "root-link").symlink_to("/")
    with pytest.raises((errors.CreateFailed, errors.NotSupported), match="root itself"):
        runtime.create("stacked", mounted(bundle, tmpfs(target)))


FAULTS = {
    "openat2": 437,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "mount_setattr": 442,
    "close_range": 436,
    "pidfd_open": 434,
    "clone3": 435,
    "memfd_create": 319,
}
FAULTY = """
import struct, sys
from ociworks import errors, spec
from ociworks._linux import process
from ociworks.runtime import Runtime
bundle, root, number, verdict = spec.Bundle.load(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
def instruction(code, yes, no, value):
    return struct.pack("HBBI", code, yes, no, value)
program = (instruction(0x20, 0, 0, 0) + instruction(0x15, 0, 1, number)
    + instruction(0x06, 0, 0, 0x50000 | verdict) + instruction(0x06, 0, 0, 0x7FFF0000))
process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
process.install_seccomp(program, 0)
try:
    with Runtime(root) as runtime:
        print("ran", runtime.run(bundle, ["cat", "/mnt/secret"], capture_output=True, timeout=60).stdout)
except (errors.OciworksError, OSError) as error:
    print("refused", type(error).__name__)
"""


@pytest.mark.parametrize("verdict", [errno.ENOSYS, errno.EPERM])
@pytest.mark.parametrize("call", FAULTS)
def test_rt_33_a_missing_call_is_an_error(
    bundle: spec.Bundle, tmp_path: Path, call: str, verdict: int
) -> None:
    """No weaker way is taken: without a call that protects there is no container, and nothing of it is left."""
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers of system calls are those of x86_64")
    (bundle.rootfs / "mnt").symlink_to(tmp_path / "outside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    hostile = mounted(bundle, tmpfs("/mnt"))
    hostile.save()
    with nothing_left(tmp_path / "root"):
        done = subprocess.run(
            [sys.executable, "-c", FAULTY, bundle.path, tmp_path / "root", str(FAULTS[call]), str(verdict)],
            capture_output=True,
            text=True,
            cwd=CHECKOUT,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "secret" not in done.stdout
    assert done.stdout.startswith("refused") or done.stdout == "ran b''\n", done.stdout
