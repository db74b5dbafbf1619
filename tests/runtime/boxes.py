"""Bundles for tests that run real containers, and the oracle that nothing of them stays behind."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

from ociworks import spec
from ociworks.runtime import RunOptions, Runtime, cgroups
from ociworks.spec.defaults import default_spec
from ociworks.spec.runtime import IDMapping, Mount, Namespace
from tests.descriptors import changed_since, descriptors
from tests.interop.peers import busybox
from tests.runtime.groups import groups_below

__all__ = [
    "FIRST",
    "MAPPED",
    "box",
    "changed",
    "descendants",
    "is_runner",
    "look",
    "mounted",
    "nothing_left",
    "remapped_box",
    "shell",
    "with_linux",
    "with_process",
    "with_users",
]

FIRST = 200_000
"""The user and group outside that root is inside, in a container with :func:`with_users`."""
MAPPED = (IDMapping(container_id=0, host_id=FIRST, size=65_536),)

APPLETS = """
    cat chmod echo env false grep head hostname id ip kill ls mkdir mknod mount ps pwd readlink rm seq sh sleep stat
    stty sync tail test touch true tty ulimit umount uname unshare wc whoami
"""
PASSWD = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n"


def box(
    folder: Path, configuration: spec.runtime.Spec | None = None, *, rootless: bool = False
) -> spec.Bundle:
    """A bundle with busybox and the default configuration (or another one) in a new folder."""
    rootfs = folder / "rootfs"
    for name in ("bin", "etc", "proc", "dev", "sys", "tmp", "root", "home/user"):
        (rootfs / name).mkdir(parents=True)
    folder.chmod(0o755)
    rootfs.joinpath("tmp").chmod(0o1777)
    rootfs.joinpath("etc/passwd").write_text(PASSWD)
    shutil.copy(busybox(), rootfs / "bin/busybox")
    for applet in APPLETS.split():
        (rootfs / "bin" / applet).symlink_to("busybox")
    return spec.Bundle.create(folder, configuration or default_spec(rootless=rootless or os.geteuid() != 0))


def changed(bundle: spec.Bundle, **values: Any) -> spec.Bundle:
    """The bundle with other values in its configuration."""
    return bundle.replace(attrs.evolve(bundle.spec, **values))


def with_process(bundle: spec.Bundle, **values: Any) -> spec.Bundle:
    """The bundle with other values in its ``process``."""
    assert bundle.spec.process is not None
    return changed(bundle, process=attrs.evolve(bundle.spec.process, **values))


def with_linux(bundle: spec.Bundle, **values: Any) -> spec.Bundle:
    """The bundle with other values in its ``linux``."""
    assert bundle.spec.linux is not None
    return changed(bundle, linux=attrs.evolve(bundle.spec.linux, **values))


def mounted(bundle: spec.Bundle, *mounts: Mount) -> spec.Bundle:
    """The bundle with further mounts."""
    return changed(bundle, mounts=(*bundle.spec.mounts, *mounts))


def with_users(bundle: spec.Bundle) -> spec.Bundle:
    """The bundle in a user namespace whose root is somebody else outside."""
    assert bundle.spec.linux is not None
    namespaces = (*bundle.spec.linux.namespaces, Namespace(type="user"))
    return with_linux(bundle, namespaces=namespaces, uid_mappings=MAPPED, gid_mappings=MAPPED)


def remapped_box(bundle: spec.Bundle) -> spec.Bundle:
    """The same, with files that are that one's, in directories that everybody can go through."""
    for path in bundle.path.parents:
        if path != Path("/"):
            path.chmod(path.stat().st_mode | 0o011)
    subprocess.run(["chown", "-R", f"{FIRST}:{FIRST}", bundle.path], check=True)
    return with_users(bundle)


def shell(runtime: Runtime, bundle: spec.Bundle, script: str, options: RunOptions | None = None) -> str:
    """The output of a shell in a container of its own."""
    done = runtime.run(bundle, ["sh", "-c", script], capture_output=True, timeout=60, options=options)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def look(runtime: Runtime, bundle: spec.Bundle, script: str) -> list[str]:
    """The same, by lines."""
    return shell(runtime, bundle, script).splitlines()


def descendants(pid: int) -> set[int]:
    """Every descendant of a process."""
    found: set[int] = set()
    for child in _children(pid):
        found |= {child, *descendants(child)}
    return found


def _children(pid: int) -> list[int]:
    """Those of all its threads; a process or a thread that has ended has none."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def _processes() -> set[int]:
    """Every descendant but the one that a launcher makes ahead for its next container."""
    found = descendants(os.getpid())
    ahead = {pid: _parent(pid) for pid in found if is_runner(pid)}
    assert len({*ahead.values()}) == len(ahead), f"more than one made ahead: {ahead}"
    return found - {*ahead}


def is_runner(pid: int) -> bool:
    """Whether a process is one that a launcher made ahead."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return os.readlink(f"/proc/{pid}/exe").startswith("/memfd:ociworks-runner")
    return False


def _parent(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return -pid


def _facts(root: Path) -> Mapping[str, Callable[[], set[int] | set[str]]]:
    return {
        "processes": _processes,
        "mounts": lambda: set(Path("/proc/self/mountinfo").read_text().splitlines()),
        "control groups": lambda: set(groups_below(cgroups.detect())),
        "state": lambda: set(os.listdir(root)) if root.exists() else set(),
    }


@contextmanager
def nothing_left(root: Path) -> Iterator[None]:
    """The no-leak oracle: processes, mounts, control groups, our descriptors, and the state directory."""
    before, opened = {name: fact() for name, fact in _facts(root).items()}, descriptors()
    yield
    after = {name: fact() for name, fact in _facts(root).items()}
    changed: dict[str, object] = {
        name: sorted(value ^ before[name], key=str) for name, value in after.items() if value != before[name]
    }
    if found := changed_since(opened):
        changed["descriptors"] = found
    assert not changed, f"not the same as before: {changed}"
