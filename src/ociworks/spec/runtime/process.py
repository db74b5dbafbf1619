"""The container's process (runtime-spec config.md, Process)."""

from __future__ import annotations

from ociworks._values import frozen
from ociworks.spec._model import Model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.spec._model import I32, I64, U32, U64

__all__ = ["Box", "Capabilities", "ExecCPUAffinity", "IOPriority", "Process", "Rlimit", "Scheduler", "User"]


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Box(Model, nulls=True):
    """The size of a console in characters (runtime-spec config.md, Process)."""

    height: U64
    width: U64


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class User(Model, nulls=True):
    """Who the process runs as (runtime-spec config.md, POSIX-platform User and Windows User)."""

    uid: U32 = 0
    gid: U32 = 0
    umask: U32 | None = None
    """The mode bits to clear on file creation; the runtime chooses when None."""
    additional_gids: tuple[U32, ...] = ()
    username: str | None = None
    """Windows only."""


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Capabilities(Model, nulls=True):
    """The five capability sets, as names such as ``CAP_KILL`` (runtime-spec config.md, Linux Process)."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Rlimit(Model, nulls=True):
    """One resource limit; ``2**64 - 1`` is unlimited (runtime-spec config.md, POSIX process)."""

    type: str
    """``RLIMIT_NOFILE`` and so on."""
    soft: U64
    hard: U64


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Scheduler(Model, nulls=True):
    """The scheduling policy (runtime-spec config.md, Linux Process)."""

    policy: str
    nice: I32 | None = None
    priority: I32 | None = None
    flags: tuple[str, ...] = ()
    runtime: U64 | None = None
    """Nanoseconds; with SCHED_DEADLINE only, as are the next two."""
    deadline: U64 | None = None
    period: U64 | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class IOPriority(Model, nulls=True):
    """The I/O priority (runtime-spec config.md, Linux Process)."""

    class_: str
    priority: I32 | None = None


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class ExecCPUAffinity(Model, nulls=True):
    """CPU lists for a process that joins a running container (runtime-spec config.md, Linux Process)."""

    initial: str | None = None
    """While the runtime moves it into the cgroup."""
    final: str | None = None
    """Afterwards."""


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Process(Model, names={"exec_cpu_affinity": "execCPUAffinity"}, nulls=True):
    """What to execute, and with which rights (runtime-spec config.md, Process)."""

    terminal: bool | None = None
    console_size: Box | None = None
    user: User = User()
    args: tuple[str, ...] = ()
    command_line: str | None = None
    """Windows only: the whole command line, instead of ``args``."""
    env: tuple[str, ...] = ()
    """``NAME=value`` each."""
    cwd: str
    """Absolute."""
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool | None = None
    apparmor_profile: str | None = None
    oom_score_adj: I64 | None = None
    scheduler: Scheduler | None = None
    selinux_label: str | None = None
    io_priority: IOPriority | None = None
    exec_cpu_affinity: ExecCPUAffinity | None = None
