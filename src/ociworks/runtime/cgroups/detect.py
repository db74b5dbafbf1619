"""What control-group hierarchies this process sees, where, and whether it may make groups in them.

Nothing is assumed about mount points: controllers are found through ``/proc/self/mountinfo``, the process's own
groups through ``/proc/self/cgroup``.
"""

from __future__ import annotations

import os

from ociworks._values import frozen
from ociworks.errors import CgroupError
from ociworks.runtime._cgroupkill import number
from ociworks.spec.frozen import FrozenDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Hierarchies", "Hierarchy", "detect", "given"]

_NOT_CONTROLLERS = frozenset(
    ("rw", "ro", "xattr", "clone_children", "noprefix", "cpuset_v2_mode", "all", "none")
)


@frozen(kw_only=True)
class Hierarchy:
    """One mounted hierarchy.

    ``version`` is 1 or 2; ``controllers`` what it offers (a named one offers only ``name=…``). ``root`` is the group
    that the mount shows at ``mount_point``, ``own`` the group of this process, both as ``/proc/PID/cgroup`` writes
    them. ``device`` is the ``st_dev`` of the mount.
    """

    version: int
    controllers: tuple[str, ...]
    mount_point: str
    root: str
    own: str
    device: int

    def locate(self, group: str) -> str:
        """The directory of ``group``, given as ``/proc/PID/cgroup`` writes it, below the mount point.

        Raises CgroupError when the mount does not show that group.
        """
        if self.root not in ("/", group) and not group.startswith(self.root + "/"):
            raise CgroupError(
                f"control group {group} is not below {self.root}, which is mounted at {self.mount_point}"
            )
        inner = group if self.root == "/" else group[len(self.root) :]
        return self.mount_point + inner.rstrip("/")

    def name(self, directory: str) -> str:
        """The group of ``directory``, as ``/proc/PID/cgroup`` writes it: the reverse of :meth:`locate`."""
        inner = directory[len(self.mount_point) :]
        return (inner if self.root == "/" else self.root + inner) or "/"


@frozen(kw_only=True)
class Hierarchies:
    """All hierarchies. ``mode`` is ``v1``, ``hybrid`` (v1 controllers beside a unified mount), ``v2`` or ``none``.

    ``available`` says whether this process may make groups below ``base``; ``reason`` why not, for people. ``base``
    maps mount points to the directory that default and relative paths start from: the mount point itself for a
    privileged process, a delegated group for others.
    """

    mode: str
    mounts: tuple[Hierarchy, ...] = ()
    base: Mapping[str, str] = FrozenDict()
    available: bool = False
    reason: str = ""

    def find(self, controller: str) -> Hierarchy | None:
        """The hierarchy that offers ``controller``; each controller is in one only."""
        return next((mount for mount in self.mounts if controller in mount.controllers), None)

    @property
    def unified(self) -> Hierarchy | None:
        """The version 2 hierarchy, also when it offers few controllers or none."""
        return next((mount for mount in self.mounts if mount.version == 2), None)


def detect(
    *, mountinfo: str | None = None, self_cgroup: str | None = None, read: Callable[[str], str] | None = None
) -> Hierarchies:
    """Find the hierarchies and what this process may do in them.

    The arguments replace the contents of ``/proc/self/mountinfo`` and ``/proc/self/cgroup`` and the reader of files
    below the mounts, for tests and for looking at another machine.
    """
    global _last  # noqa: PLW0603 - one value, replaced as a whole
    own = _read("/proc/self/cgroup") if self_cgroup is None else self_cgroup
    table = _read("/proc/self/mountinfo") if mountinfo is None else mountinfo
    if read is not None:
        return _detect(table, own, read)
    key = (table, own, os.geteuid())
    if _last is None or _last[0] != key or not _last[1].available:
        _last = (key, _detect(table, own, _read))
    return _last[1]


def given(found: Hierarchies, parts: Sequence[str]) -> Hierarchies:
    """The same for a process that may not make groups of its own choice: for one group, which it may have been given.

    It must be possible in all hierarchies that have controllers; others are left out where it is not. On version 2 the
    ``base`` is the nearest group above that there is, which has the controllers that it was given.
    """
    mounts, base = [], {}
    for mount in found.mounts:
        group = "/".join((mount.mount_point, *parts))
        above = _nearest(mount.mount_point, os.path.dirname(group))
        if _may_use(mount, group if os.path.isdir(group) else above):
            mounts.append(mount)
            base[mount.mount_point] = above if mount.version == 2 else mount.mount_point
        elif _counts(mount, found.mode):
            path = "/".join(("", *parts))
            reason = f"this process may not make the group {path} in {mount.mount_point}; run as root, or be given it"
            return Hierarchies(mode=found.mode, mounts=found.mounts, reason=reason)
    return Hierarchies(mode=found.mode, mounts=tuple(mounts), base=FrozenDict(base), available=True)


def _nearest(mount_point: str, place: str) -> str:
    while place != mount_point and not os.path.isdir(place):
        place = os.path.dirname(place)
    return place


def _may_use(mount: Hierarchy, place: str) -> bool:
    """On version 2 a process is moved by whoever may write to the group above both (cgroups(7))."""
    if mount.version == 1:
        return os.access(place, os.W_OK, effective_ids=True)
    try:
        above = os.path.commonpath((mount.locate(mount.own), place))
    except CgroupError:
        return False
    return _may_make(place) and os.access(f"{above}/cgroup.procs", os.W_OK, effective_ids=True)


def _counts(mount: Hierarchy, mode: str) -> bool:
    """Whether a limit, or the wish for one, could be meant for it."""
    if mount.version == 2:
        return mode == "v2"
    return not all(name.startswith("name=") for name in mount.controllers)


_last: tuple[tuple[str, str, int], Hierarchies] | None = None
"""The last answer; it holds while the mounts, our own groups and our user are the same."""


def _detect(table: str, self_cgroup: str, read: Callable[[str], str]) -> Hierarchies:
    own = _own_groups(self_cgroup)
    mounts = tuple(_hierarchies(table, own, read))
    mode = _mode(mounts)
    if mode == "none":
        return Hierarchies(mode=mode, reason="no control group filesystem is mounted")
    base, reason = _permission(mounts)
    return Hierarchies(mode=mode, mounts=mounts, base=FrozenDict(base), available=not reason, reason=reason)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as stream:
        return stream.read()


def _own_groups(text: str) -> dict[str, str]:
    """Controller → group, from lines ``number:controllers:path``; the unified hierarchy is the controller ``""``."""
    groups = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        groups.update(dict.fromkeys(controllers.split(","), path))
    return groups


def _hierarchies(table: str, own: Mapping[str, str], read: Callable[[str], str]) -> list[Hierarchy]:
    """One Hierarchy per distinct filesystem; of several mounts of one, the mount that shows most of it."""
    found: dict[int, Hierarchy] = {}
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, _, options) = left.split(" "), right.split(" ", 2)
        if kind not in ("cgroup", "cgroup2"):
            continue
        major, _, minor = fields[2].partition(":")
        device = os.makedev(number(major), number(minor))
        mount_point, root = _unescape(fields[4]), _unescape(fields[3])
        version = 1 if kind == "cgroup" else 2
        controllers = _controllers_v1(options) if version == 1 else _controllers_v2(mount_point, read)
        group = own.get(controllers[0] if version == 1 and controllers else "")
        if group is None or (device in found and len(found[device].root) <= len(root)):
            continue
        found[device] = Hierarchy(
            version=version,
            controllers=controllers,
            mount_point=mount_point,
            root=root,
            own=group,
            device=device,
        )
    return list(found.values())


def _controllers_v1(options: str) -> tuple[str, ...]:
    words = options.split(",")
    named = [word for word in words if word.startswith("name=")]
    return tuple(named + [word for word in words if word not in _NOT_CONTROLLERS and "=" not in word])


def _controllers_v2(mount_point: str, read: Callable[[str], str]) -> tuple[str, ...]:
    try:
        return tuple(read(f"{mount_point}/cgroup.controllers").split())
    except OSError:
        return ()


def _unescape(field: str) -> str:
    """Undo how mountinfo writes space, tab, newline and backslash (three octal digits)."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field


def _mode(mounts: tuple[Hierarchy, ...]) -> str:
    versions = {mount.version for mount in mounts}
    if versions == {1, 2}:
        return "hybrid"
    return {1: "v1", 2: "v2"}.get(next(iter(versions), 0), "none")


def _permission(mounts: tuple[Hierarchy, ...]) -> tuple[dict[str, str], str]:
    """Where groups can be made, and "" or the reason why they cannot."""
    base = {}
    for mount in mounts:
        directory = mount.mount_point if _may_make(mount.mount_point) else _delegated(mount)
        if directory is None:
            return {}, (
                f"this process may not make control groups in {mount.mount_point}; "
                "run as root, or in a delegated group (systemd-run --user --scope -p Delegate=yes …)"
            )
        base[mount.mount_point] = directory
    return base, ""


def _delegated(mount: Hierarchy) -> str | None:
    """The group to build in without privilege: on v2 the parent of our own when it is ours as well.

    Our own group holds this process, so that the kernel would not let it hand controllers to groups below it.
    """
    try:
        own = mount.locate(mount.own)
    except CgroupError:
        return None
    above = os.path.dirname(own)
    if mount.version == 2 and above.startswith(mount.mount_point + "/") and _may_make(above):
        return above
    return own if _may_make(own) else None


def _may_make(directory: str) -> bool:
    needed = (directory, f"{directory}/cgroup.procs")
    return all(os.access(path, os.W_OK, effective_ids=True) for path in needed)
