"""Init operations as data: what a container's first process does, one after the other, before it is the program.

An :class:`Op` is a name and plain arguments; the executor (``ociworks.runtime._init.execute``) has one function per
name. The functions here build them with types, so that a plan can be made, printed, compared and edited anywhere.
"""

from __future__ import annotations

from ociworks._values import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final, TypeAlias

    from ociworks.spec.runtime import Hook

__all__ = [
    "NOT_GIVEN",
    "UNCHANGED",
    "Attributes",
    "Given",
    "Hierarchy",
    "Op",
    "Options",
    "Overlay",
    "Value",
    "bind",
    "bind_device",
    "bounding",
    "capability_sets",
    "cgroup_tree",
    "change_directory",
    "close_descriptors",
    "cpu_affinity",
    "dev_link",
    "domainname",
    "enter_root",
    "execute",
    "expect_maps",
    "filesystem",
    "find_program",
    "hold_root",
    "home",
    "hook",
    "hostname",
    "identity",
    "io_priority",
    "join_cgroups",
    "keyring",
    "label",
    "listen",
    "loopback_up",
    "make_device",
    "mask",
    "memory_policy",
    "mount_read_only",
    "move_root",
    "network_devices",
    "no_new_privileges",
    "oom_score_adj",
    "open_label",
    "open_terminal",
    "outlive",
    "own_streams",
    "personality",
    "pin_root",
    "pivot",
    "prepare_cwd",
    "reach",
    "read_only",
    "rlimit",
    "root_propagation",
    "root_read_only",
    "scheduler",
    "seccomp",
    "seccomp_listener",
    "session",
    "superblock",
    "sysctl",
    "take_terminal",
    "umask",
    "unshare",
    "wait_start",
]

Value: TypeAlias = "str | bytes | int | bool | tuple[Value, ...] | None"
"""What an operation's argument may be: plain data that any process can read."""
Options: TypeAlias = tuple[tuple[str, str | None], ...]
"""File-system options, one key each; None for a flag."""
Attributes: TypeAlias = tuple[int, int, int, int, int, int]
"""Mount attributes: to set and to clear on the mount itself; the same for when the kernel has locked some; to set and
to clear on all below too."""
Given: TypeAlias = tuple[str, int, bool]
"""What the launcher prepared for a bind, and its number (:mod:`ociworks._init.sources`): ``tree`` to be used, ``spare``
when the source cannot be reached from here, ``idmap`` a user namespace to map by (recursively or not), ``ask`` one that
the caller is asked to map by; or ``""``."""
UNCHANGED: Final[Attributes] = (0, 0, 0, 0, 0, 0)
"""A bind keeps the attributes of its source."""
NOT_GIVEN: Final[Given] = ("", -1, False)
Overlay: TypeAlias = tuple[tuple[str, ...], str, str, bool, bool]
"""An overlay as root: lower directories (the topmost first), upper and work directory or ``""``, whether its marks
are ``user.overlay.*``, and whether nothing is synced."""
Hierarchy: TypeAlias = tuple[str, str, Options, str, tuple[str, ...]]
"""A cgroup hierarchy to show: directory, file system type, options, host path, links to the directory."""

_SHOWN: Final = 160


@frozen
class Op:
    """One operation. ``str(op)`` is one line for people; bytes (programs, arguments) are shown by length."""

    name: str
    args: tuple[Value, ...] = ()

    def encode(self) -> tuple[Value, ...]:
        """The flat tuple that the executor reads."""
        return (self.name, *self.args)

    def __str__(self) -> str:
        text = f"{self.name} {' '.join(_show(arg) for arg in self.args)}".rstrip()
        return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _show(value: Value) -> str:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, tuple):
        return "(" + ", ".join(_show(item) for item in value) + ")"
    return ascii(value)


def keyring(name: str) -> Op:
    """Join a new session keyring."""
    return Op("keyring", (name,))


def join_cgroups(membership: Mapping[str, str]) -> Op:
    """Enter the control groups whose descriptors the launcher opened; ``membership`` is what must be true then."""
    return Op("join_cgroups", (tuple(membership.items()),))


def unshare(kinds: int) -> Op:
    """unshare(2) of namespaces that must come late."""
    return Op("unshare", (kinds,))


def session() -> Op:
    """setsid(2)."""
    return Op("session")


def oom_score_adj(value: int) -> Op:
    """Set /proc/self/oom_score_adj."""
    return Op("oom_score_adj", (value,))


def hostname(name: str) -> Op:
    """sethostname(2)."""
    return Op("hostname", (name,))


def domainname(name: str) -> Op:
    """setdomainname(2)."""
    return Op("domainname", (name,))


def loopback_up() -> Op:
    """Bring ``lo`` up in a new network namespace."""
    return Op("loopback_up")


def pin_root(rootfs: str, propagation: int, parent_mount: str, overlay: Overlay | None = None) -> Op:
    """Cut the tree from the host's and mount the root over itself, or an overlay in its place."""
    return Op("pin_root", (rootfs, propagation, parent_mount, overlay))


def filesystem(  # noqa: PLR0913 - the members of a mount
    fstype: str,
    source: str,
    target: str,
    options: Options,
    attributes: int,
    propagation: Sequence[int],
    *,
    copy_up: bool = False,
    made: int = -1,
) -> Op:
    """Mount a new file system; with ``copy_up`` it starts with what it covers. ``made``: number of a `superblock`."""
    return Op("filesystem", (fstype, source, target, options, attributes, tuple(propagation), copy_up, made))


def superblock(fstype: str, source: str, options: Options, attributes: int) -> Op:
    """Open a file system that may need a device, before device rules hold; numbered in the order of these."""
    return Op("superblock", (fstype, source, options, attributes))


def bind(
    source: str,
    target: str,
    *,
    recursive: bool = False,
    attributes: Attributes = UNCHANGED,
    propagation: Sequence[int] = (),
    follow: bool = True,
    given: Given = NOT_GIVEN,
) -> Op:
    """Bind a host path; without ``follow`` no part of it may be a link."""
    return Op("bind", (source, target, recursive, attributes, tuple(propagation), follow, given))


def mount_read_only(targets: Sequence[str]) -> Op:
    """Make mounts read-only that had to be written until now."""
    return Op("mount_read_only", (tuple(targets),))


def cgroup_tree(target: str, layout: Sequence[Hierarchy], *, own_namespace: bool, attributes: int) -> Op:
    """Mount the control group hierarchies."""
    return Op("cgroup_tree", (target, tuple(layout), own_namespace, attributes))


def make_device(path: str, kind: int, number: tuple[int, int], mode: int, owner: tuple[int, int]) -> Op:
    """Mknod a device; ``kind`` is S_IFCHR, S_IFBLK or S_IFIFO."""
    return Op("make_device", (path, kind, *number, mode, owner))


def bind_device(path: str, kind: int, number: tuple[int, int]) -> Op:
    """Bind the host's device node of this path, kind and number."""
    return Op("bind_device", (path, kind, *number))


def dev_link(name: str, target: str) -> Op:
    """A link in ``/dev``."""
    return Op("dev_link", (name, target))


def open_terminal(size: tuple[int, int], owner: int, *, own_root: bool) -> Op:
    """Open a terminal (width, height) for a user, send its master to the caller."""
    return Op("open_terminal", (*size, owner, own_root))


def take_terminal() -> Op:
    """Make the terminal the controlling one and the standard streams."""
    return Op("take_terminal")


def sysctl(name: str, value: str) -> Op:
    """Write a kernel setting; ``name`` is its path below ``/proc/sys``."""
    return Op("sysctl", (name, value))


def reach(point: str) -> Op:
    """Tell the caller that a point is reached and wait to go on."""
    return Op("reach", (point,))


def hook(which: str, given: Hook, inherited: Sequence[str], state: tuple[bytes, bytes]) -> Op:
    """Run a hook inside the container's namespaces; ``which`` it is, for messages.

    One that brings no environment has ``inherited``, completed as that of the program is.
    """
    environment, completed = (given.env, False) if given.env else (inherited, bool(inherited))
    return Op(
        "hook",
        (which, given.path, tuple(given.args), tuple(environment), given.timeout or 0, completed, state),
    )


def prepare_cwd(cwd: str) -> Op:
    """Make the working directory if it is missing."""
    return Op("prepare_cwd", (cwd,))


def mask(paths: Sequence[str], proved: Sequence[str] = ()) -> Op:
    """Make paths unreadable; those in ``proved`` are looked at again afterwards."""
    return Op("mask", (tuple(paths), tuple(proved)))


def read_only(paths: Sequence[str], proved: Sequence[str] = ()) -> Op:
    """Make paths read-only; those in ``proved`` are looked at again afterwards."""
    return Op("read_only", (tuple(paths), tuple(proved)))


def root_read_only() -> Op:
    """Make the root mount read-only."""
    return Op("root_read_only")


def pivot() -> Op:
    """Change the root by pivot_root."""
    return Op("pivot")


def move_root() -> Op:
    """Change the root by moving the mount and chroot, where the host's root cannot be exchanged."""
    return Op("move_root")


def hold_root(rootfs: str) -> Op:
    """Take the root filesystem as a tree that is mounted nowhere, for a container without a mount namespace."""
    return Op("hold_root", (rootfs,))


def enter_root() -> Op:
    """Change the root to a tree that is mounted nowhere; it goes with the last process in it."""
    return Op("enter_root")


def expect_maps(uid_map: str, gid_map: str) -> Op:
    """Prove that the user namespace which was joined has these maps."""
    return Op("expect_maps", (uid_map, gid_map))


def root_propagation(propagation: int) -> Op:
    """Set the propagation type of the new root."""
    return Op("root_propagation", (propagation,))


def personality(persona: int) -> Op:
    """personality(2)."""
    return Op("personality", (persona,))


def rlimit(number: int, soft: int, hard: int) -> Op:
    """setrlimit(2)."""
    return Op("rlimit", (number, soft, hard))


def scheduler(values: Sequence[int], *, cpus: bool) -> Op:
    """sched_setattr(2): policy, flags, nice, priority, runtime, deadline, period; ``cpus``: only some are given."""
    return Op("scheduler", (tuple(values), cpus))


def io_priority(class_: int, level: int) -> Op:
    """ioprio_set(2)."""
    return Op("io_priority", (class_, level))


def find_program(program: bytes, search: bytes, cwd: str) -> Op:
    """Fail when the program cannot be found in ``search`` (a ``PATH``) or nobody may execute it."""
    return Op("find_program", (program, search, cwd))


def outlive() -> Op:
    """From here on the process outlives its creator."""
    return Op("outlive")


def wait_start() -> Op:
    """Report readiness and wait at the gate for ``start``."""
    return Op("wait_start")


def no_new_privileges() -> Op:
    """PR_SET_NO_NEW_PRIVS."""
    return Op("no_new_privileges")


def bounding(keep: int) -> Op:
    """Reduce the bounding set to a mask."""
    return Op("bounding", (keep,))


def change_directory(cwd: str, *, last: bool) -> Op:
    """Enter the working directory, as the runtime or (``last``) as the user."""
    return Op("change_directory", (cwd, last))


def identity(uid: int, gid: int, groups: Sequence[int] | None) -> Op:
    """Become the user; None leaves the groups alone, where a user namespace denies setgroups."""
    return Op("identity", (uid, gid, None if groups is None else tuple(groups)))


def capability_sets(effective: int, permitted: int, inheritable: int, ambient: int) -> Op:
    """Set the capability sets from masks."""
    return Op("capability_sets", (effective, permitted, inheritable, ambient))


def umask(value: int) -> Op:
    """umask(2)."""
    return Op("umask", (value,))


def close_descriptors() -> Op:
    """Mark all but the standard streams close-on-exec."""
    return Op("close_descriptors")


def seccomp(program: bytes, flags: int) -> Op:
    """Install a compiled filter."""
    return Op("seccomp", (program, flags))


def execute(args: Sequence[bytes], env: Sequence[bytes], search: bytes) -> Op:
    """execve(2); ``search`` is the PATH for a program without a slash."""
    return Op("execute", (tuple(args), tuple(env), search))


def seccomp_listener(program: bytes, flags: int) -> Op:
    """Install a compiled filter that asks a listener, and hand the listener's descriptor to the caller."""
    return Op("seccomp_listener", (program, flags))


def open_label(kind: str, *, own_root: bool) -> Op:
    """Open the kernel's file for a label, ``apparmor`` or ``selinux``, before or after the root was switched."""
    return Op("open_label", (kind, own_root))


def label(kind: str, value: str) -> Op:
    """Ask for the label of the next program."""
    return Op("label", (kind, value))


def memory_policy(mode: int, nodes: bytes) -> Op:
    """set_mempolicy(2); ``nodes`` is a bit mask."""
    return Op("memory_policy", (mode, nodes))


def cpu_affinity(cpus: Sequence[int]) -> Op:
    """sched_setaffinity(2)."""
    return Op("cpu_affinity", (tuple(cpus),))


def network_devices() -> Op:
    """Give the caller a netlink socket of the network namespace, and wait until it has moved the devices."""
    return Op("network_devices")


def home(uid: int) -> Op:
    """Look the user's home up in the container's ``/etc/passwd``, for a program that is given no ``HOME``."""
    return Op("home", (uid,))


def own_streams(uid: int) -> Op:
    """Give the pipes among the standard streams to the user, who could not open ``/dev/stdout`` otherwise."""
    return Op("own_streams", (uid,))


def listen(count: int) -> Op:
    """Tell the program of sockets from descriptor 3 on (``LISTEN_FDS``, sd_listen_fds(3))."""
    return Op("listen", (count,))
