"""Checkpoint and restore, through criu's command line, with the options of runc's verbs.

What criu cannot see from inside a container is named to it: bind mounts, masked files and bound devices by their
destination, standard streams by what they are (kept in ``descriptors.json`` beside the images, as runc keeps them),
namespaces that were joined by path. Needs root and criu 3.15.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Collection, Iterator, Sequence
from typing import Final, Literal

from attrs import fields, frozen

from ociworks.errors import CheckpointFailed, MissingDependency, NotSupported, quote
from ociworks.spec.numbers import parse_uint
from ociworks.spec.runtime import Linux, Spec

__all__ = [
    "CgroupsMode",
    "CheckpointOptions",
    "RestoreOptions",
    "criu",
    "dump_command",
    "flags",
    "load_streams",
    "reason",
    "refuse",
    "restore_command",
    "save_streams",
    "streams_of",
]

CgroupsMode = Literal["soft", "full", "strict", "ignore"]
"""What criu does with control groups (criu(8), --manage-cgroups)."""

DUMP_LOG: Final = "dump.log"
RESTORE_LOG: Final = "restore.log"
STREAMS: Final = "descriptors.json"
_MAX_LOG: Final = 16 << 20
_EXTERNAL: Final = {"network": ("net", "extRootNetNS"), "pid": ("pid", "extRootPidNS")}


@frozen(kw_only=True)
class CheckpointOptions:
    """How to checkpoint; the names are those of runc's flags."""

    image_path: str
    """The directory for the images; made when it is missing, mode 0700."""
    work_path: str = ""
    """The directory for criu's log and other files; ``image_path`` without it."""
    parent_path: str = ""
    """The images of an earlier pre-dump, relative to ``image_path``."""
    leave_running: bool = False
    tcp_established: bool = False
    ext_unix_sk: bool = False
    shell_job: bool = False
    file_locks: bool = False
    pre_dump: bool = False
    """Only the memory; the container goes on."""
    lazy_pages: bool = False
    auto_dedup: bool = False
    manage_cgroups_mode: CgroupsMode = "soft"
    empty_ns: tuple[str, ...] = ()
    """Namespaces (``network``) whose properties are left out."""
    status_fd: int = -1
    """A descriptor to which criu writes a zero byte when lazy pages can be asked for."""
    page_server: str = ""
    """``address:port`` of a page server."""


@frozen(kw_only=True)
class RestoreOptions:
    """How to restore; the names are those of runc's flags."""

    image_path: str
    work_path: str = ""
    tcp_established: bool = False
    ext_unix_sk: bool = False
    shell_job: bool = False
    file_locks: bool = False
    lazy_pages: bool = False
    auto_dedup: bool = False
    manage_cgroups_mode: CgroupsMode = "soft"
    empty_ns: tuple[str, ...] = ()
    lsm_profile: str = ""
    """``TYPE:NAME`` of another security profile than the one at the checkpoint."""
    lsm_mount_context: str = ""
    """Another SELinux context for the mounts."""


def flags(options: CheckpointOptions | RestoreOptions) -> tuple[str, ...]:
    """The options as flags of runc's verbs."""
    found: list[str] = []
    for item in fields(type(options)):
        value = getattr(options, item.name)
        name = f"--{item.name.replace('_', '-')}"
        if item.name == "empty_ns":
            for each in options.empty_ns:
                found += [name, each]
        elif value is True:
            found.append(name)
        elif value not in (False, "", -1):
            found += [name, str(value)]
    return tuple(found)


def criu() -> str:
    """The program. MissingDependency when it is not there."""
    found = shutil.which("criu", path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")
    if found is None:
        raise MissingDependency("checkpoint and restore need criu (Debian: apt-get install criu)")
    return found


def dump_command(
    options: CheckpointOptions, spec: Spec, pid: int, freezer: str, status_fd: int
) -> tuple[str, ...]:
    """The command that dumps a container; ``freezer`` is the control group to freeze it by, if any.

    ``status_fd`` is what ``options.status_fd`` is for criu, -1 without one.

    Raises NotSupported for what criu's command line cannot do, MissingDependency.
    """
    refuse(spec)
    command = [criu(), "pre-dump" if options.pre_dump else "dump", "--tree", str(pid)]
    command += _common(options, DUMP_LOG)
    command += ["--leave-running"] if options.leave_running and not options.pre_dump else []
    command += ["--freeze-cgroup", freezer] if freezer else []
    command += ["--prev-images-dir", options.parent_path] if options.parent_path else []
    command += ["--track-mem"] if options.parent_path or options.pre_dump else []
    command += ["--status-fd", str(status_fd)] if status_fd >= 0 else []
    if options.page_server:
        address, _, port = options.page_server.rpartition(":")
        command += ["--page-server", "--address", address, "--port", port]
    for destination, _ in _mounts(spec):
        if not stat.S_ISDIR(_mode(f"/proc/{pid}/root{destination}")) or _is_bind(spec, destination):
            command += ["--external", f"mnt[{destination}]:{destination}"]
    command += [word for what in streams_of(pid) if what.startswith("file[") for word in ("--external", what)]
    for kind, path in _joined(spec.linux or Linux()):
        name, key = _EXTERNAL[kind]
        command += ["--external", f"{name}[{os.stat(path).st_ino}]:{key}"]
    return tuple(command)


def restore_command(
    options: RestoreOptions, spec: Spec, bundle: str, *, root: str, pid_file: str, first_fd: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The command that restores a container, and the files to hand over as descriptors from ``first_fd`` on.

    ``root`` is where the root filesystem is mounted. Raises as :func:`dump_command` does.
    """
    refuse(spec)
    command = [
        criu(),
        "restore",
        "--restore-detached",
        "--restore-sibling",
        "--pidfile",
        pid_file,
        "--root",
        root,
    ]
    command += [*_common(options, RESTORE_LOG), "--evasive-devices"]
    command += ["--lsm-profile", options.lsm_profile] if options.lsm_profile else []
    command += ["--lsm-mount-context", options.lsm_mount_context] if options.lsm_mount_context else []
    for destination, source in _mounts(spec):
        command += ["--external", f"mnt[{destination}]:{os.path.join(bundle, source)}"]
    for fd, what in enumerate(load_streams(options.image_path)):
        if what.startswith(("pipe:", "file[")):
            command += ["--inherit-fd", f"fd[{fd}]:{what}"]
    files = []
    for fd, (kind, path) in enumerate(_joined(spec.linux or Linux()), first_fd):
        command += ["--inherit-fd", f"fd[{fd}]:{_EXTERNAL[kind][1]}"]
        files.append(path)
    return tuple(command), tuple(files)


def refuse(spec: Spec) -> None:
    """Raise NotSupported for a container that criu's command line cannot handle."""
    if spec.process is not None and spec.process.terminal:
        raise NotSupported(
            "$.process.terminal: a container with a terminal cannot be checkpointed or restored"
        )
    if any(namespace.type == "user" for namespace in (spec.linux or Linux()).namespaces):
        raise NotSupported("$.linux.namespaces: a container with a user namespace cannot be checkpointed")
    if os.geteuid() != 0:
        raise NotSupported("checkpoint and restore need root")


def save_streams(directory: str, pid: int) -> None:
    """Write down what the standard streams of a process are."""
    with os.fdopen(_create(os.path.join(directory, STREAMS)), "w") as stream:
        json.dump(streams_of(pid), stream)


def streams_of(pid: int) -> tuple[str, ...]:
    """What the standard streams of a process are, as criu names them: pipes, and files that its mounts do not have."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        mounts = {line.split(" ", 1)[0] for line in stream}
    return tuple(_stream(f"/proc/{pid}", fd, mounts) for fd in range(3))


def _stream(process: str, fd: int, mounts: Collection[str]) -> str:
    path = f"{process}/fd/{fd}"
    name = os.readlink(path)
    with open(f"{process}/fdinfo/{fd}", encoding="ascii") as stream:
        mount = dict(line.split() for line in stream if line.startswith("mnt_id"))["mnt_id:"]
    if not name.startswith("/") or mount in mounts:
        return name
    return f"file[{parse_uint(mount, 1 << 32, 'mount ID'):x}:{os.stat(path).st_ino:x}]"


def load_streams(directory: str) -> tuple[str, ...]:
    """What the standard streams were. CheckpointFailed when that was not written down."""
    path = os.path.join(directory, STREAMS)
    try:
        with open(path, "rb") as stream:
            found = json.loads(stream.read(1 << 16))
    except (OSError, ValueError) as error:
        raise CheckpointFailed(
            f"{path}: expected the names of the standard streams: {error}", log=""
        ) from error
    if not isinstance(found, list):
        raise CheckpointFailed(f"{path}: expected a list, got {quote(str(found))}", log="")
    return tuple(str(name) for name in found[:3])


def reason(directory: str, name: str) -> str:
    """The last errors in criu's log, for a message."""
    try:
        with open(os.path.join(directory, name), "rb") as stream:
            lines = stream.read(_MAX_LOG).decode("utf-8", "backslashreplace").splitlines()
    except OSError as error:
        return f"no log: {error}"
    found = [line[line.index("Error") :] for line in lines if "Error (" in line]
    return quote("; ".join(found[-3:]) or "no error in its log", 1000)


def _common(options: CheckpointOptions | RestoreOptions, log: str) -> Iterator[str]:
    yield from ("--images-dir", options.image_path, "--work-dir", options.work_path or options.image_path)
    yield from (
        "--log-file",
        log,
        "-v4",
        "--no-default-config",
        f"--manage-cgroups={options.manage_cgroups_mode}",
    )
    for name in ("tcp_established", "ext_unix_sk", "shell_job", "file_locks", "lazy_pages", "auto_dedup"):
        if getattr(options, name):
            yield {"ext_unix_sk": "--ext-unix-sk"}.get(name, f"--{name.replace('_', '-')}")
    for name in options.empty_ns:
        if name not in ("network", "net"):
            raise NotSupported(
                f"empty namespaces: criu can do that for the network only, not for {quote(name)}"
            )
        yield from ("--empty-ns", "net")


def _mounts(spec: Spec) -> Iterator[tuple[str, str]]:
    """What is mounted from outside: destination and source."""
    for mount in spec.mounts:
        if _bound(mount.type, mount.options):
            yield os.path.normpath(os.path.join("/", mount.destination)), mount.source or ""
    for path in (spec.linux or Linux()).masked_paths:
        yield os.path.normpath(path), os.devnull


def _is_bind(spec: Spec, destination: str) -> bool:
    return any(
        _bound(mount.type, mount.options)
        and os.path.normpath(os.path.join("/", mount.destination)) == destination
        for mount in spec.mounts
    )


def _bound(type_: str | None, options: Sequence[str]) -> bool:
    return type_ == "bind" or "bind" in options or "rbind" in options


def _joined(linux: Linux) -> Iterator[tuple[str, str]]:
    """Namespaces that were joined by path, and that criu can leave out."""
    for namespace in linux.namespaces:
        if namespace.path:
            if namespace.type not in _EXTERNAL:
                raise NotSupported(
                    f"$.linux.namespaces: a joined namespace of type {namespace.type} cannot be checkpointed"
                )
            yield namespace.type, namespace.path


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except OSError:
        return stat.S_IFDIR  # not there: nothing to name


def _create(path: str) -> int:
    temporary = f"{path}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.rename(temporary, path)
    return fd
