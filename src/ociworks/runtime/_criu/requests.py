"""What criu is asked for to checkpoint or restore a container.

What criu cannot see from inside is named to it: bind mounts, masked files and bound devices by their destination,
standard streams by what they are, network and process namespaces that were joined by path. Joined IPC and UTS
namespaces are dumped as if they were the container's own; a restore joins those that its configuration names, as they
are then. Needs root and criu 3.16.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ociworks._linux.path import open_in_root
from ociworks._linux.process import CLONE_NEWNET
from ociworks.errors import CheckpointFailed, MissingDependency, NotSupported, quote
from ociworks.runtime._criu import streams
from ociworks.runtime._criu.rpc import Value, message
from ociworks.runtime.plan.devices import device_ops
from ociworks.spec.numbers import parse_uint
from ociworks.spec.runtime import Linux, Mount, Spec

if TYPE_CHECKING:
    from ociworks.runtime.checkpoint import CheckpointOptions, RestoreOptions

__all__ = [
    "DUMP_LOG",
    "RESTORE_LOG",
    "Place",
    "criu",
    "dump_request",
    "joined_again",
    "mount_points",
    "own_group",
    "refuse",
    "restore_request",
]

DUMP_LOG: Final = "dump.log"
RESTORE_LOG: Final = "restore.log"
_EXTERNAL: Final = {"network": ("net", "extRootNetNS"), "pid": ("pid", "extRootPidNS")}
_JOINED_AGAIN: Final = ("ipc", "uts")
"""Kinds that criu joins by path when it restores."""
_DUMPED: Final = ("user",)
"""Kinds that are dumped as the container's own, too, but that criu cannot join: such a container does not come back."""
_GROUPS_MODES: Final = {"ignore": 0, "soft": 3, "full": 4, "strict": 5}
_SAME_NAME: Final = (
    "tcp_established", "ext_unix_sk", "shell_job", "file_locks", "lazy_pages", "auto_dedup",
)  # fmt: skip
_MOST_VERBOSE: Final = 4


@frozen(kw_only=True)
class Place:
    """Where something is restored."""

    root: str
    """Where the root filesystem is mounted."""
    groups: Mapping[str, str]
    """The control group of each hierarchy, whatever it was at the checkpoint."""
    bound: Sequence[tuple[str, str]] = ()
    """Where it sees control groups of the host's, and which directories those are."""
    first_fd: int
    mapped: Mapping[str, str] = field(factory=dict)
    """Where the trees of binds with IDs of their own are mounted, by destination."""


def criu() -> str:
    """The program. MissingDependency when it is not there."""
    found = shutil.which("criu", path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")
    if found is None:
        raise MissingDependency("checkpoint and restore need criu (Debian: apt-get install criu)")
    return found


def dump_request(options: CheckpointOptions, spec: Spec, pid: int, freezer: str) -> dict[str, Value]:
    """How to dump a container, but for the directories; ``freezer`` is the control group to freeze it by, if any.

    Raises NotSupported for what criu cannot do.
    """
    refuse(spec, dump=True)
    found = {**_common(options, DUMP_LOG), "pid": pid, "orphan_pts_master": True}
    found |= {name: True for name in ("tcp_skip_in_flight", "link_remap") if getattr(options, name)}
    found["external"] = tuple(_seen_from_outside(spec, pid))
    if options.leave_running and not options.pre_dump:
        found["leave_running"] = True
    if freezer:
        found["freeze_cgroup"] = freezer
    if options.parent_path:
        _check_parent(options)
        found["parent_img"] = options.parent_path
    if options.parent_path or options.pre_dump:
        found["track_mem"] = True
    if options.status_fd >= 0:
        found["status_fd"] = options.status_fd
    if options.page_server:
        address, _, port = options.page_server.rpartition(":")
        found["ps"] = message({1: address, 2: parse_uint(port, 0xFFFF, "port of the page server")})
    return found


def restore_request(
    options: RestoreOptions, spec: Spec, bundle: str, *, place: Place
) -> tuple[dict[str, Value], tuple[str, ...]]:
    """How to restore a container, but for the directories, and the files that criu gets from ``place.first_fd`` on.

    Raises as :func:`dump_request` does, and CheckpointFailed.
    """
    refuse(spec)
    if spec.linux is not None and spec.linux.intel_rdt is not None:
        raise NotSupported("$.linux.intelRdt: criu restores into no group of resctrl")
    found: dict[str, Value] = {
        **_common(options, RESTORE_LOG),
        "root": place.root,
        "cg_root": tuple(message({1: name, 2: path}) for name, path in place.groups.items() if "/" in path),
        "rst_sibling": True,
        "evasive_devices": True,
        "notify_scripts": True,
        "orphan_pts_master": True,
    }
    for name in ("lsm_profile", "lsm_mount_context"):
        if getattr(options, name):
            found[name] = getattr(options, name)
    found["external"] = (
        *(
            f"mnt[{destination}]:{place.mapped.get(destination) or os.path.realpath(os.path.join(bundle, source))}"
            for destination, source in _mounts(spec)
        ),
        *(f"mnt[{point}]:{directory}" for point, directory in place.bound),
        f"mnt[{os.devnull}]:{os.devnull}",  # what runc calls every masked file
    )
    linux = spec.linux or Linux()
    found["join_ns"] = tuple(message({1: kind, 2: path}) for kind, path in joined_again(spec))
    handed = tuple(_handed(linux))
    inherited = [
        (what, fd)
        for fd, what in enumerate(streams.load(options.image_path))
        if what.startswith(("pipe:", "file["))
    ]
    inherited += [(_EXTERNAL[kind][1], fd) for fd, (kind, _) in enumerate(handed, place.first_fd)]
    found["inherit_fd"] = tuple(message({1: what, 2: fd}) for what, fd in inherited)
    return found, tuple(path for _, path in handed)


def refuse(spec: Spec, *, dump: bool = False) -> None:
    """Raise NotSupported for a container that criu cannot handle: not restore, or not even ``dump``."""
    if os.geteuid() != 0:
        raise NotSupported("checkpoint and restore need root")
    for kind, _ in _joined(spec.linux or Linux()):
        if kind not in (*_EXTERNAL, *_JOINED_AGAIN, *(_DUMPED if dump else ())):
            verb = "checkpointed" if dump else "restored"
            raise NotSupported(f"$.linux.namespaces: a joined namespace of type {kind} cannot be {verb}")
    if own_group(spec) is None:
        return
    for index, mount in enumerate(spec.mounts):
        if mount.uid_mappings or mount.gid_mappings or {"idmap", "ridmap"} & set(mount.options):
            raise NotSupported(
                f"$.mounts[{index}]: in a user namespace, a mount with IDs of its own cannot be checkpointed:"
                " it would lose them"
            )


def own_group(spec: Spec) -> int | None:
    """The group on the host that root has in a container with a user namespace, None without one.

    Raises NotSupported when the container has no root: criu restores as that.
    """
    linux = spec.linux or Linux()
    if not _has_user_namespace(linux):
        return None
    for mapping in linux.gid_mappings:
        if mapping.container_id == 0:
            return mapping.host_id
    raise NotSupported("$.linux.gidMappings: criu restores as root of the user namespace, which has none")


def _common(options: CheckpointOptions | RestoreOptions, log: str) -> dict[str, Value]:
    found: dict[str, Value] = {
        "log_file": log,
        "log_level": _MOST_VERBOSE,
        "manage_cgroups_mode": _GROUPS_MODES[options.manage_cgroups_mode],
    }
    found |= {name: True for name in _SAME_NAME if getattr(options, name)}
    if options.config_file:
        found["config_file"] = options.config_file
    for name in options.empty_ns:
        if name not in ("network", "net"):
            raise NotSupported(
                f"empty namespaces: criu can do that for the network only, not for {quote(name)}"
            )
        found["empty_ns"] = CLONE_NEWNET
    return found


def _check_parent(options: CheckpointOptions) -> None:
    path = options.parent_path
    found = os.path.realpath(
        os.path.join(options.image_path, path)
    )  # of a directory that may not be there yet
    if os.path.isabs(path) or not os.path.isdir(found):
        raise CheckpointFailed(
            f"--parent-path (parent_path): expected a directory, relative to that of the images, got {quote(path)}",
            log="",
        )


def _seen_from_outside(spec: Spec, pid: int) -> Iterator[str]:
    """What a dump does not go into: mounts, streams and namespaces that are the host's."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for destination, _ in _mounts(spec):
            place, mode = _place_of(root, destination)
            if not stat.S_ISDIR(mode) or _is_bind(spec, destination):
                yield f"mnt[{place}]:{destination}"
    finally:
        os.close(root)
    yield from (f"mnt[{point}]:{point}" for point in _bound_groups(spec, pid))
    yield from (what for what in streams.of(pid) if what.startswith("file["))
    for kind, path in _handed(spec.linux or Linux()):
        name, key = _EXTERNAL[kind]
        yield f"{name}[{os.stat(path).st_ino}]:{key}"


def _bound_groups(spec: Spec, pid: int) -> Iterator[str]:
    """Where a container that sees the host's control groups of version 1 has binds of them."""
    linux = spec.linux or Linux()
    if any(namespace.type == "cgroup" for namespace in linux.namespaces):
        return
    places = [f"{mount.destination.rstrip('/')}/" for mount in spec.mounts if mount.type == "cgroup"]
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        for point in (line.split(" ")[4] for line in stream):
            if any(point.startswith(place) for place in places):
                yield point


def _mounts(spec: Spec) -> Iterator[tuple[str, str]]:
    """What is mounted from outside: destination and source."""
    for mount in spec.mounts:
        if _bound(mount.type, mount.options):
            yield os.path.normpath(os.path.join("/", mount.destination)), mount.source or ""
    linux = spec.linux or Linux()
    for path in linux.masked_paths:
        yield os.path.normpath(path), os.devnull
    if _has_user_namespace(linux):
        for op in device_ops(spec, linux, bind=True):
            if op.name == "bind_device":
                yield str(op.args[0]), str(op.args[0])


def _has_user_namespace(linux: Linux) -> bool:
    return any(namespace.type == "user" for namespace in linux.namespaces)


def _is_bind(spec: Spec, destination: str) -> bool:
    return any(
        _bound(mount.type, mount.options)
        and os.path.normpath(os.path.join("/", mount.destination)) == destination
        for mount in spec.mounts
    )


def _bound(type_: str | None, options: Sequence[str]) -> bool:
    return type_ == "bind" or "bind" in options or "rbind" in options


def mount_points(spec: Spec, bundle: str) -> Iterator[tuple[str, str, bool]]:
    """What criu expects to be there to mount something on: below which directory, where, and whether it is one itself.

    The directory "" is the root filesystem; another is the source of the bind that a point is below. What is below
    other mounts comes with them.
    """
    points = [os.path.normpath(os.path.join("/", mount.destination)) for mount in spec.mounts]
    for mount, point in zip(spec.mounts, points, strict=True):
        is_directory = not _bound(mount.type, mount.options) or os.path.isdir(_source(mount, bundle))
        above = [other for other in points if other != "/" and point.startswith(f"{other}/")]
        if not above:
            yield "", point, is_directory
            continue
        nearest = max(above, key=len)
        over = spec.mounts[len(points) - 1 - points[::-1].index(nearest)]
        if _bound(over.type, over.options):
            yield _source(over, bundle), point[len(nearest) :], is_directory


def _source(mount: Mount, bundle: str) -> str:
    return os.path.join(bundle, mount.source or "")


def joined_again(spec: Spec) -> Iterator[tuple[str, str]]:
    """Joined namespaces that are others' too, and that criu joins by path when it restores: kind and path."""
    return ((kind, path) for kind, path in _joined(spec.linux or Linux()) if kind in _JOINED_AGAIN)


def _handed(linux: Linux) -> Iterator[tuple[str, str]]:
    """Joined namespaces that a dump leaves out, and that a restore is handed as descriptors."""
    return ((kind, path) for kind, path in _joined(linux) if kind in _EXTERNAL)


def _joined(linux: Linux) -> Iterator[tuple[str, str]]:
    """Namespaces that were joined by path: kind and path."""
    return ((namespace.type, namespace.path) for namespace in linux.namespaces if namespace.path)


def _place_of(root: int, destination: str) -> tuple[str, int]:
    """Where a destination really is, which may lead over links; and its mode, a directory's if it is not there."""
    try:
        fd = open_in_root(root, destination, os.O_PATH)
    except OSError:
        return destination, stat.S_IFDIR
    try:
        return os.readlink(f"/proc/self/fd/{fd}"), os.fstat(fd).st_mode
    finally:
        os.close(fd)
