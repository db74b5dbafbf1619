"""Whether what criu made of images that nobody vouches for keeps within the configuration (CR-13).

Images say everything of a process: its rights, its namespaces, its mounts. They are looked at when all of it is made
and nothing has run yet; what is not as the configuration has it is named, and the caller ends the container. A filter
of system calls must be there where the configuration has one; which calls it lets through, only the images say.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from ociworks._linux.capabilities import CAPABILITIES
from ociworks._linux.path import open_in_root
from ociworks.errors import CheckpointFailed, quote
from ociworks.runtime._cgroupkill import read_text
from ociworks.spec.runtime import Linux, Mount, Process, Spec

__all__ = ["check", "unescaped"]

_FILES: Final = {"network": "net", "mount": "mnt"}
"""Namespaces whose file in ``/proc`` has another name."""
_SEES_TIME: Final = "time"
"""Criu restores into a time namespace of its own, so that clocks go on: that is no more than the configuration has."""
_HIERARCHIES: Final = ("cgroup2", "tmpfs")
"""What is mounted where the configuration says cgroup: the unified one, or a place for the others."""
_FILTERED: Final = "2"
_ESCAPES: Final = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"))


class Mounted(NamedTuple):
    """What is mounted on a place."""

    options: frozenset[str]
    kind: str


def check(pid: int, others: Iterable[int], spec: Spec, bundle: str) -> None:
    """Look at the first process ``pid`` and all ``others``. CheckpointFailed names the first thing that is too much."""
    linux, process = spec.linux or Linux(), spec.process or Process(cwd="/")
    for each in sorted({pid, *others}):
        _check_namespaces(each, pid, linux)
        for task in os.listdir(f"/proc/{each}/task"):
            _check_rights(_status(f"/proc/{each}/task/{task}/status"), pid, process, linux)
    _check_mounts(pid, spec, linux, bundle)


def _refuse(what: str) -> CheckpointFailed:
    return CheckpointFailed(f"the images go beyond the configuration: {what}", log="")


def _check_namespaces(pid: int, first: int, linux: Linux) -> None:
    """Each has its own where the configuration says so; the first process is in those that it joins."""
    for namespace in linux.namespaces:
        name = _FILES.get(namespace.type, namespace.type)
        found = os.stat(f"/proc/{pid}/ns/{name}").st_ino
        if namespace.path and pid == first and found != os.stat(namespace.path).st_ino:
            raise _refuse(f"not in the {namespace.type} namespace that is joined")
        if name != _SEES_TIME and found == os.stat(f"/proc/self/ns/{name}").st_ino and not namespace.path:
            raise _refuse(f"in our own {namespace.type} namespace")
        if name == "mnt" and found != os.stat(f"/proc/{first}/ns/mnt").st_ino:
            raise _refuse("a mount namespace within the container's")


def _check_rights(status: Mapping[str, str], first: int, process: Process, linux: Linux) -> None:
    capabilities = process.capabilities
    bounding = capabilities.bounding if capabilities is not None else ()
    allowed = sum(1 << CAPABILITIES.index(name) for name in bounding)
    for name in ("CapBnd", "CapPrm", "CapInh", "CapEff", "CapAmb"):
        if int(status[name], 16) & ~allowed:  # trusted: the kernel's
            raise _refuse(f"{name} {status[name]}, of which the configuration grants {allowed:016x}")
    if process.no_new_privileges and status.get("NoNewPrivs") != "1":
        raise _refuse("new privileges")
    if linux.seccomp is not None and status.get("Seccomp") != _FILTERED:
        raise _refuse("no filter of system calls")
    if process.user.uid and _root_of(first) in status["Uid"].split():
        raise _refuse(f"root, where the configuration has user {process.user.uid}")


def _root_of(pid: int) -> str:
    """The user on the host that is root in a container."""
    for line in read_text(f"/proc/{pid}/uid_map").splitlines():
        inside, outside, _ = line.split()
        if inside == "0":
            return outside
    return ""


def _status(path: str) -> Mapping[str, str]:
    lines = (line.split(":", 1) for line in read_text(path).splitlines())
    return {name: value.strip() for name, value in lines}


def _check_mounts(pid: int, spec: Spec, linux: Linux, bundle: str) -> None:
    """Nothing is mounted but what the configuration has, as it has it."""
    found = {point: Mounted(frozenset(options), kind) for point, options, kind in _mounts(pid)}
    expected = {_place(mount.destination): mount for mount in spec.mounts}
    protected = {_place(path) for path in (*linux.masked_paths, *linux.readonly_paths)}
    known = {"/", *expected, *protected, *(_place(device.path) for device in linux.devices)}
    for point, mounted in found.items():
        if point not in known and not _is_below(point, mounted.kind, expected):
            raise _refuse(f"a mount of {quote(mounted.kind)} on {quote(point)}")
    if spec.root is not None and spec.root.readonly and "ro" not in found["/"].options:
        raise _refuse("a root that can be written")
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check_protected(root, found, protected, {_place(path) for path in linux.readonly_paths})
        for point, mount in expected.items():
            _check_mount(root, point, mount, found.get(point), bundle)
    finally:
        os.close(root)


def _check_protected(
    root: int, found: Mapping[str, Mounted], protected: Collection[str], readonly: Collection[str]
) -> None:
    for point in protected:
        mounted = found.get(point)
        if mounted is None and _identity(root, point) is not None:
            raise _refuse(f"no protection of {quote(point)}")
        if mounted is not None and point in readonly and "ro" not in mounted.options:
            raise _refuse(f"{quote(point)} can be written")


def _check_mount(root: int, point: str, mount: Mount, mounted: Mounted | None, bundle: str) -> None:
    if mounted is None:
        raise _refuse(f"nothing is mounted on {quote(point)}")
    if "ro" in mount.options and "ro" not in mounted.options:
        raise _refuse(f"{quote(point)} can be written")
    source = mount.source or ""
    if mount.type == "bind" or {"bind", "rbind"} & set(mount.options):
        info = os.stat(os.path.join(bundle, source))
        if _identity(root, point) != (info.st_dev, info.st_ino):
            raise _refuse(f"something else than {quote(source)} on {quote(point)}")
    elif mounted.kind != mount.type and not (mount.type == "cgroup" and mounted.kind in _HIERARCHIES):
        raise _refuse(f"{quote(mounted.kind)} on {quote(point)}, where {quote(mount.type or '')} belongs")


def _is_below(point: str, kind: str, expected: Mapping[str, Mount]) -> bool:
    """Mounts that come with others: below a bind, in the tree of hierarchies, masked devices, the terminal."""
    if point == "/dev/console":
        return kind == "devpts"
    above = point
    while above != "/":
        above = os.path.dirname(above)
        mount = expected.get(above)
        if mount is not None:
            return "rbind" in mount.options or mount.type == "cgroup"
    return False


def _mounts(pid: int) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Of each mount: where, options, kind of file system; of several on one place the topmost comes last."""
    for line in read_text(f"/proc/{pid}/mountinfo").splitlines():
        fields = line.split(" ")
        yield unescaped(fields[4]), tuple(fields[5].split(",")), fields[fields.index("-") + 1]


def unescaped(name: str) -> str:
    """A path as the kernel's table of mounts has it."""
    for code, character in _ESCAPES:
        name = name.replace(code, character)
    return name


def _identity(root: int, point: str) -> tuple[int, int] | None:
    try:
        fd = open_in_root(root, point.lstrip("/") or ".", os.O_PATH)
    except OSError:
        return None
    try:
        info = os.fstat(fd)
    finally:
        os.close(fd)
    return info.st_dev, info.st_ino


def _place(path: str) -> str:
    return os.path.normpath(os.path.join("/", path))
