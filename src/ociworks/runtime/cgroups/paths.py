"""Names of control groups: what a caller may ask for, and the directories that it becomes.

``linux.cgroupsPath`` (runtime-spec config-linux.md, Cgroups Path): an absolute path starts at the mount of each
hierarchy, a relative one at a place that the runtime chooses, which is ``/ociworks`` here.
"""

from __future__ import annotations

from ociworks.errors import CgroupError, quote

__all__ = ["DEFAULT_PARENT", "normalise"]

DEFAULT_PARENT = "ociworks"
"""The group that holds all containers without a path of their own. Whoever empties it removes it."""

_MAXIMUM = 4096 - 512  # room for the mount point and file names
_COMPONENT = 255


def normalise(cgroups_path: str | None, container_id: str) -> tuple[tuple[str, ...], bool]:
    """The components of the path, and whether they start at :data:`DEFAULT_PARENT`.

    Raises CgroupError for dot components, NUL and control characters, names that are longer than the kernel takes,
    and for the root group itself. ``a:b:c`` is refused too: that names a scope of systemd.
    """
    path = cgroups_path or container_id
    if len(path.encode("utf-8", "surrogateescape")) > _MAXIMUM:
        raise _refused(path, f"at most {_MAXIMUM} bytes are possible")
    if cgroups_path and path.count(":") == 2 and not path.startswith("/"):
        raise _refused(
            path, "slice:prefix:name is for Runtime(systemd_cgroup=True) and --systemd-cgroup; give a path"
        )
    parts = tuple(part for part in path.split("/") if part)
    if not parts:
        raise _refused(path, "the root group is not a container's")
    for part in parts:
        _check(path, part)
    return parts, not path.startswith("/")


def _check(path: str, part: str) -> None:
    if part in (".", ".."):
        raise _refused(path, "'.' and '..' are not allowed")
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in part):
        raise _refused(path, "control characters are not allowed")
    if len(part.encode("utf-8", "surrogateescape")) > _COMPONENT:
        raise _refused(path, f"a name has at most {_COMPONENT} bytes")
    if part.startswith("cgroup.") or part == "tasks":
        raise _refused(path, f"{quote(part)} is a name of the kernel's")


def _refused(path: str, why: str) -> CgroupError:
    return CgroupError(f"cgroupsPath {quote(path)}: {why}")
