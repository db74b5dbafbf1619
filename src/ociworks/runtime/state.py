"""The lifecycle as a table, and what a container leaves on disk to be found by other processes.

=========  ==========================================  ======================
status     may become                                  by
=========  ==========================================  ======================
creating   created, stopped                            create
created    running, stopped                            start, kill, delete
running    paused, stopped                             pause, kill, its own end
paused     running, stopped                            resume, kill
stopped    (gone)                                      delete
=========  ==========================================  ======================
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Final

from attrs import frozen

from ociworks._linux.path import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from ociworks.errors import ContainerError, ContainerNotFound, IllegalTransition, SpecError
from ociworks.spec import FrozenDict, parse, to_json
from ociworks.spec._model import I64, U32, Model
from ociworks.spec.runtime import Spec

__all__ = ["Record", "allow", "boot_id", "is_alive", "load", "save", "start_time"]

FILE: Final = "state.json"
VERSION: Final = 1
_MAX_SIZE: Final = 16 << 20

_ALLOWED: Final[Mapping[str, Collection[str]]] = {
    "start": ("created",),
    "kill": ("created", "running", "paused"),
    "exec": ("running",),
    "pause": ("running",),
    "resume": ("paused",),
    "delete": ("stopped", "created"),
    "processes": ("created", "running", "paused"),
}


def allow(operation: str, status: str, container_id: str) -> None:
    """Raise IllegalTransition when the table does not have ``operation`` for ``status``."""
    needed = _ALLOWED[operation]
    if status not in needed:
        hint = "; use force to end it first" if operation == "delete" else ""
        raise IllegalTransition(
            f"cannot {operation} container {container_id}: it is {status}, not {' or '.join(needed)}{hint}"
        )


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Record(Model, required=("version",)):
    """The state file of one container. Read as untrusted input: strict JSON, checked against the process table."""

    version: U32 = VERSION
    id: str
    bundle: str
    spec: Spec
    pid: I64
    """The first process, in the PID namespace of the host; a hint that counts only together with the next two."""
    start_time: I64
    """Of that process, in clock ticks since boot (proc(5), stat field 22)."""
    boot_id: str
    started: bool = False
    cgroups: tuple[str, ...] = ()
    unified_cgroup: str = ""
    """The one of them that is of version 2, if any."""
    shared_cgroups: tuple[str, ...] = ()
    """Their parents that are the runtime's own; whoever empties one removes it."""
    kinds: U32 = 0
    """The namespaces that are not the host's, as clone flags."""
    deny_setgroups: bool = False
    created: str = ""
    """RFC 3339, UTC."""
    annotations: Mapping[str, str] = FrozenDict()

    @property
    def tasks(self) -> tuple[str, ...]:
        """The files of version 1 through which a further process enters the control groups."""
        return tuple(f"{path}/tasks" for path in self.cgroups if path != self.unified_cgroup)


def save(directory: str, record: Record) -> None:
    """Write the state file as a whole or not at all (mode 0600)."""
    temporary = f"{directory}/.{FILE}.{os.getpid()}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(to_json(record))
        os.rename(temporary, f"{directory}/{FILE}")
    except BaseException:
        os.unlink(temporary)
        raise


def load(root: str, container_id: str) -> Record:
    """Read a state file. ContainerNotFound when there is none, ContainerError when it cannot be believed."""
    try:
        place = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ContainerNotFound(f"no container {container_id} in {root}") from None
    try:
        raw = _read(place, f"{container_id}/{FILE}")
    except (FileNotFoundError, NotADirectoryError):
        raise ContainerNotFound(f"no container {container_id} in {root}") from None
    except OSError as error:
        raise ContainerError(f"state file of container {container_id}: {error}") from error
    finally:
        os.close(place)
    try:
        record = parse(Record, raw, max_size=_MAX_SIZE)
    except SpecError as error:
        raise ContainerError(f"damaged state file of container {container_id}: {error}") from error
    if record.version != VERSION or record.id != container_id:
        raise ContainerError(
            f"state file of container {container_id}: expected version {VERSION} and that ID, "
            f"got version {record.version} and {record.id!r}"
        )
    return record


def _read(place: int, name: str) -> bytes:
    fd = openat2(place, name, os.O_RDONLY | os.O_NONBLOCK, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    with os.fdopen(fd, "rb") as stream:
        info = os.fstat(stream.fileno())
        if info.st_uid not in (0, os.geteuid()) or info.st_mode & 0o022:
            raise ContainerError(
                f"{name}: written by or open to somebody else (owner {info.st_uid}, mode {info.st_mode:o})"
            )
        return stream.read(_MAX_SIZE + 1)


def boot_id() -> str:
    """The kernel's identity of this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        return stream.read().strip()


def start_time(pid: int) -> int:
    """The start time of a process in clock ticks since boot; -1 when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            fields = stream.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return -1
    state = fields[0]
    return -1 if state in (b"Z", b"X") else int(fields[19])  # trusted: the kernel's


def is_alive(record: Record) -> bool:
    """Whether the record's process is still that process: same boot, same pid, same start time (SV-03, CL-06)."""
    return (
        record.start_time >= 0 and record.boot_id == boot_id() and start_time(record.pid) == record.start_time
    )
