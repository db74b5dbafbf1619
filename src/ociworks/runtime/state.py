"""The lifecycle as a table, and what a container leaves on disk to be found by other processes.

=========  ==========================================  ======================
status     may become                                  by
=========  ==========================================  ======================
creating   created, stopped                            create
created    running, paused, stopped                    start, pause, kill, delete
running    paused, stopped                             pause, kill, its own end
paused     what it was before, stopped                 resume, kill
stopped    (gone)                                      delete
=========  ==========================================  ======================

A container's directory, private to its owner, holds

===============  ===================================================================================================
``state.json``   a :class:`Record`; written once, when the container is created
``config.json``  the configuration that it was made of, with the limits of the last update
``start``        the gate (:mod:`ociworks.runtime._gate`); it is gone once the container was started
===============  ===================================================================================================

The directory itself is what :class:`Lock` locks. Commands that start a process each (``ociworks-runtime``) import this,
so it loads neither attrs nor typing; a :class:`Record` is written out for that reason.
"""

from __future__ import annotations

import fcntl
import os
import stat

from ociworks.runtime import _cgroupkill, _facts
from ociworks.runtime._same import kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Final, Self

    from ociworks.spec.runtime import Spec

__all__ = [
    "Lock",
    "Record",
    "allow",
    "boot_id",
    "has",
    "is_alive",
    "is_same",
    "load",
    "load_config",
    "own_groups",
    "read",
    "save",
    "save_config",
    "start_time",
    "status",
    "status_of_living",
]

FILE: Final = "state.json"
CONFIG: Final = "config.json"
GATE: Final = "start"
VERSION: Final = 1
_MAX_SIZE: Final = 1 << 20
_MAX_CONFIG: Final = 16 << 20

_ALLOWED: Final[Mapping[str, Collection[str]]] = {
    "start": ("created",),
    "kill": ("created", "running", "paused"),
    "exec": ("created", "running"),
    "pause": ("created", "running"),
    "resume": ("paused",),
    "checkpoint": ("running", "paused"),
    "delete": ("stopped", "created"),
    "processes": ("created", "running", "paused"),
    "update": ("created", "running", "paused"),
    "events": ("created", "running", "paused"),
}


OPERATIONS: Final = frozenset(_ALLOWED)
"""What the table speaks of."""


def allow(operation: str, status: str, container_id: str) -> None:
    """Raise IllegalTransition when the table does not have ``operation`` for ``status``."""
    needed = _ALLOWED[operation]
    if status not in needed:
        from ociworks.errors import IllegalTransition

        hint = "; use force to end it first" if operation == "delete" else ""
        raise IllegalTransition(
            f"cannot {operation} container {container_id}: it is {status}, not {' or '.join(needed)}{hint}"
        )


class Record:
    """The state file of one container. Read as untrusted input: strict JSON, checked against the process table."""

    __slots__ = (
        "annotations",
        "boot_id",
        "bundle",
        "cgroup_ids",
        "cgroups",
        "created",
        "deny_setgroups",
        "hooks",
        "id",
        "kinds",
        "oci_version",
        "owner",
        "pid",
        "resctrl",
        "resctrl_tasks",
        "rootfs",
        "scope",
        "shared_cgroups",
        "start_time",
        "unified_cgroup",
    )

    def __init__(  # noqa: PLR0913 - a document with its members
        self,
        *,
        id: str,
        bundle: str,
        rootfs: str,
        oci_version: str,
        pid: int,
        start_time: int,
        boot_id: str,
        owner: int,
        created: str,
        annotations: Mapping[str, str],
        cgroups: tuple[str, ...] = (),
        cgroup_ids: tuple[str, ...] = (),
        unified_cgroup: str = "",
        shared_cgroups: tuple[str, ...] = (),
        scope: str = "",
        kinds: int = 0,
        deny_setgroups: bool = False,
        hooks: tuple[str, ...] = (),
        resctrl: tuple[str, ...] = (),
        resctrl_tasks: tuple[str, ...] = (),
    ) -> None:
        self.id = id
        self.bundle = bundle
        self.rootfs = rootfs
        """The path of the root filesystem on the host."""
        self.oci_version = oci_version
        """The version of the specification that the configuration follows."""
        self.pid = pid
        """The first process, in the PID namespace of the host; a hint that counts only together with the next two."""
        self.start_time = start_time
        """Of that process, in clock ticks since boot (proc(5), stat field 22)."""
        self.boot_id = boot_id
        self.owner = owner
        """The user ID of who made it."""
        self.created = created
        """RFC 3339, UTC."""
        self.annotations = annotations
        self.cgroups = cgroups
        self.cgroup_ids = cgroup_ids
        """Their inode numbers: a group with the same name and another number is somebody else's."""
        self.unified_cgroup = unified_cgroup
        """The one of them that is of version 2, if any."""
        self.shared_cgroups = shared_cgroups
        """Their parents that are the runtime's own; whoever empties one removes it."""
        self.scope = scope
        """The unit of systemd that it is in, as ``system:UNIT`` or ``user:UNIT``; "" without one."""
        self.kinds = kinds
        """The namespaces that are not the host's, as clone flags."""
        self.deny_setgroups = deny_setgroups
        self.hooks = hooks
        """The points after creation at which the configuration has hooks."""
        self.resctrl = resctrl
        """The resource control groups that go with the container, children first."""
        self.resctrl_tasks = resctrl_tasks
        """The files through which a further process enters the resource control groups."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The files of version 1, and of resource control, through which a further process enters the groups."""
        groups = (f"{path}/tasks" for path in self.cgroups if path != self.unified_cgroup)
        return (*groups, *self.resctrl_tasks)

    def encode(self) -> bytes:
        """The bytes of the state file."""
        members = {_camel(name): getattr(self, name) for name in self.__slots__}
        return _facts.dumps({"version": VERSION, **members}).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Read the bytes of a state file. ValueError when they are not one."""
        if len(raw) > _MAX_SIZE:
            raise ValueError(f"larger than {_MAX_SIZE} bytes")
        found = _facts.loads(raw)
        if not isinstance(found, dict):
            raise ValueError("expected an object")
        if found.pop("version", None) != VERSION:
            raise ValueError(f"expected version {VERSION}")
        members = {_camel(name): name for name in cls.__slots__}
        if found.keys() != members.keys():
            raise ValueError(f"expected the members {', '.join(members)}")
        record = object.__new__(cls)
        for name, value in found.items():
            setattr(record, members[name], _checked(name, value))
        return record


_PATHS: Final = ("cgroups", "sharedCgroups", "resctrl", "resctrlTasks")
_KINDS: Final = {
    **dict.fromkeys(("pid", "startTime", "owner", "kinds"), int),
    **dict.fromkeys((*_PATHS, "cgroupIds", "hooks"), list),
    "annotations": dict,
    "denySetgroups": bool,
}
"""The types of members that are no text."""
_MOST: Final = {"pid": 1 << 31, "owner": 1 << 32, "kinds": 1 << 32}
"""Above the largest numbers that the kernel has for these."""


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


def _checked(name: str, value: object) -> object:
    """``value`` when it has the type of this member. Paths must be absolute: some are removed later."""
    kind = _KINDS.get(name, str)
    inner = list(value) if isinstance(value, list) else []
    if isinstance(value, dict):
        inner = [*value, *value.values()]
    if type(value) is not kind or any(type(item) is not str for item in inner):
        raise ValueError(f"member {name} is of the wrong type")
    if isinstance(value, int) and not 0 <= value < _MOST.get(name, 1 << 63):
        raise ValueError(f"member {name} is out of range")
    paths = inner if name in _PATHS else [value] if name in ("bundle", "rootfs") else []
    for path in paths:
        if not isinstance(path, str) or not path.startswith("/") or "/../" in f"{path}/" or "\0" in path:
            raise ValueError(f"member {name} is no absolute path")
    return tuple(inner) if kind is list else value


def save(root: str, record: Record, config: bytes) -> None:
    """Write a container's configuration and then its state file, each as a whole or not at all (mode 0600)."""
    directory = f"{root}/{record.id}"
    _write(directory, CONFIG, config)
    _write(directory, FILE, record.encode())


def save_config(root: str, container_id: str, config: bytes) -> None:
    """Replace a container's configuration, after its limits have changed. The caller holds the lock."""
    _write(f"{root}/{container_id}", CONFIG, config)


def _write(directory: str, name: str, raw: bytes) -> None:
    temporary = f"{directory}/.{name}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(raw)
        os.rename(temporary, f"{directory}/{name}")
    except BaseException:
        os.unlink(temporary)
        raise


def load(root: str, container_id: str) -> Record:
    """Read a state file. ContainerNotFound when there is none, ContainerError when it cannot be believed.

    ``container_id`` has been checked.
    """
    try:
        record = Record.decode(read(root, container_id, FILE, _MAX_SIZE))
    except ValueError as error:
        from ociworks.errors import ContainerError

        raise ContainerError(f"damaged state file of container {container_id} in {root}: {error}") from error
    if record.id != container_id:
        from ociworks.errors import ContainerError, quote

        raise ContainerError(
            f"state file of container {container_id} in {root}: expected that ID, got {quote(record.id)}"
        )
    return record


def load_config(root: str, container_id: str) -> Spec:
    """The configuration that a container was made of. Raises as :func:`load` does."""
    from ociworks.errors import ContainerError, SpecError
    from ociworks.spec import parse
    from ociworks.spec.runtime import Spec

    raw = read(root, container_id, CONFIG, _MAX_CONFIG)
    try:
        return parse(Spec, raw, max_size=_MAX_CONFIG)
    except SpecError as error:
        raise ContainerError(f"damaged configuration of container {container_id}: {error}") from error


def read(root: str, container_id: str, name: str, limit: int) -> bytes:
    """At most ``limit`` + 1 bytes of a file that is nobody else's and reached without links."""
    from_root = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        place = os.open(f"{root}/{container_id}", from_root)
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
        finally:
            os.close(place)
    except (FileNotFoundError, NotADirectoryError):
        from ociworks.errors import ContainerNotFound

        raise ContainerNotFound(f"no container {container_id} in {root}") from None
    except OSError as error:
        from ociworks.errors import ContainerError

        raise ContainerError(f"state file {name} of container {container_id}: {error.strerror}") from error
    try:
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode) or info.st_uid not in (0, os.geteuid()) or info.st_mode & 0o022:
            from ociworks.errors import ContainerError

            raise ContainerError(
                f"{name} of container {container_id}: expected a file that is nobody else's to write, "
                f"found one written by or open to somebody else, or none (owner {info.st_uid}, mode {info.st_mode:o})"
            )
        with open(fd, "rb", closefd=False) as stream:
            return stream.read(limit + 1)
    finally:
        os.close(fd)


def has(root: str, container_id: str, name: str) -> bool:
    """Whether a container has a file of this name."""
    return os.access(f"{root}/{container_id}/{name}", os.F_OK)


class Lock:
    """Holds a container against other commands that change it; a context manager. It ends with its holder.

    Entering raises ContainerNotFound when the container is gone, also when it went while we waited.
    """

    def __init__(self, root: str, container_id: str) -> None:
        self._path = f"{root}/{container_id}"
        self._message = f"no container {container_id} in {root}"
        self._fd = -1

    def __enter__(self) -> Self:
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            here, there = os.fstat(self._fd), os.stat(self._path, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            self.__exit__()
        else:
            if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
                return self
            self.__exit__()
        from ociworks.errors import ContainerNotFound

        raise ContainerNotFound(self._message)

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def status(root: str, record: Record) -> str:
    """``created``, ``running``, ``paused`` or ``stopped``, of a container of whichever process."""
    if not is_alive(record):
        return "stopped"
    return status_of_living(root, record)


def status_of_living(root: str, record: Record) -> str:
    """:func:`status` of one whose first process is known to be there."""
    if record.cgroups and _cgroupkill.stopped(_freezers(tuple(record.cgroups))):
        return "paused"
    return "created" if has(root, record.id, GATE) else "running"


def _freezers(groups: tuple[str, ...]) -> Sequence[tuple[str, Sequence[str]]]:
    """Looked for once: there is nothing to be found in most groups, and a kernel is slow to say so."""
    try:
        return _found_freezers(groups)
    except FileNotFoundError:
        return ()


@kept(64)
def _found_freezers(groups: tuple[str, ...]) -> Sequence[tuple[str, Sequence[str]]]:
    found = _cgroupkill.freezers(groups)
    if not found:
        raise FileNotFoundError  # groups that are not there yet, or not any more: what is in them is not known
    return found


def boot_id() -> str:
    """The kernel's identity of this boot."""
    return _cgroupkill.read_text("/proc/sys/kernel/random/boot_id").strip()


def start_time(pid: int) -> int:
    """The start time of a process in clock ticks since boot; -1 when there is none."""
    state, started = _look(pid)
    return -1 if state in (b"Z", b"X") else started


def _look(pid: int) -> tuple[bytes, int]:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            fields = stream.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return b"", -1
    return fields[0], int(fields[19])  # trusted: the kernel's


def is_same(record: Record) -> bool:
    """:func:`is_alive`, also true of one that has ended and was not waited for yet."""
    return (
        record.start_time >= 0 and record.boot_id == boot_id() and _look(record.pid)[1] == record.start_time
    )


def own_groups(record: Record) -> tuple[str, ...]:
    """The control groups of the record that are still those of its container: none after a reboot."""
    if not record.cgroups or record.boot_id != boot_id():
        return ()
    from ociworks.runtime import _cgroupfs

    return tuple(_cgroupfs.owned(record.cgroups, record.cgroup_ids))


def is_alive(record: Record) -> bool:
    """Whether the record's process is still that process: same boot, same pid, same start time (SV-03, CL-06)."""
    return is_same(record) and start_time(record.pid) >= 0
