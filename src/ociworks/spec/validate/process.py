"""Rules for the process, wherever it runs; what depends on the platform is in ``config``."""

from __future__ import annotations

from ociworks.errors import Problem, quote
from ociworks.spec.validate._checks import check_choice, check_cpu_list, check_range, check_unique
from ociworks.spec.validate._common import check_env

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ociworks.spec.runtime import (
        Capabilities,
        ExecCPUAffinity,
        IOPriority,
        Process,
        Rlimit,
        Scheduler,
        User,
    )

__all__ = ["CAPABILITIES", "RULES"]

CAPABILITIES: Final = frozenset(
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID "
    "CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW "
    "CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT "
    "CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD "
    "CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG "
    "CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE".split()
)
"""The capabilities of Linux 5.9 and later (capabilities(7))."""

_SECTION: Final = "runtime-spec config.md, Process"
_LINUX: Final = "runtime-spec config.md, Linux Process"
_POLICIES: Final = frozenset(
    "SCHED_OTHER SCHED_FIFO SCHED_RR SCHED_BATCH SCHED_ISO SCHED_IDLE SCHED_DEADLINE".split()
)
_SCHEDULER_FLAGS: Final = frozenset(
    "SCHED_FLAG_RESET_ON_FORK SCHED_FLAG_RECLAIM SCHED_FLAG_DL_OVERRUN SCHED_FLAG_KEEP_POLICY "
    "SCHED_FLAG_KEEP_PARAMS SCHED_FLAG_UTIL_CLAMP_MIN SCHED_FLAG_UTIL_CLAMP_MAX".split()
)
_IO_CLASSES: Final = frozenset({"IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"})


def _process(value: Process, at: str) -> Iterator[Problem]:
    """Something to execute, in a directory, with an environment and limits."""
    if not value.cwd:
        yield Problem(f"{at}.cwd", "must not be empty", _SECTION)
    if not value.args and value.command_line is None:
        yield Problem(f"{at}.args", "expected at least one entry", _SECTION)
    yield from check_env(value.env, f"{at}.env", _SECTION)
    yield from check_unique(
        value.rlimits,
        lambda limit: limit.type,
        lambda index: f"{at}.rlimits[{index}].type",
        "runtime-spec config.md, POSIX process",
    )
    yield from check_range(value.oom_score_adj, -1000, 1000, f"{at}.oomScoreAdj", _LINUX)


def _user(value: User, at: str) -> Iterator[Problem]:
    """The umask has permission bits only, and no ID is 2**32 - 1, which the kernel reads as "unchanged"."""
    section = "runtime-spec config.md, POSIX-platform User"
    yield from check_range(value.umask, 0, 0o777, f"{at}.umask", section)
    ids = [("uid", value.uid), ("gid", value.gid)]
    ids += [(f"additionalGids[{index}]", gid) for index, gid in enumerate(value.additional_gids)]
    for name, number in ids:
        yield from check_range(number, 0, 2**32 - 2, f"{at}.{name}", section)


def _rlimit(value: Rlimit, at: str) -> Iterator[Problem]:
    """The soft limit is not above the hard one."""
    if value.soft > value.hard:
        message = f"expected at most the hard limit {value.hard}, got {value.soft}"
        yield Problem(f"{at}.soft", message, "runtime-spec config.md, POSIX process")


def _capabilities(value: Capabilities, at: str) -> Iterator[Problem]:
    """Names are known: a protection that was asked for and not understood must not be dropped in silence."""
    sets = {
        "bounding": value.bounding,
        "effective": value.effective,
        "inheritable": value.inheritable,
        "permitted": value.permitted,
        "ambient": value.ambient,
    }
    for name, members in sets.items():
        for index, capability in enumerate(members):
            if capability not in CAPABILITIES:
                message = f"expected a capability such as CAP_KILL, got {quote(capability)}"
                yield Problem(f"{at}.{name}[{index}]", message, _LINUX)
    excess = sorted(set(value.effective) - set(value.permitted))
    if excess:
        names = ", ".join(map(quote, excess))
        yield Problem(
            f"{at}.effective", f"has {names}, which permitted has not", f"{_LINUX}; capabilities(7)"
        )


def _scheduler(value: Scheduler, at: str) -> Iterator[Problem]:
    """Each policy has its own parameters (sched(7))."""
    yield from check_choice(value.policy, _POLICIES, f"{at}.policy", _LINUX)
    for index, flag in enumerate(value.flags):
        yield from check_choice(flag, _SCHEDULER_FLAGS, f"{at}.flags[{index}]", _LINUX)
    yield from check_range(value.nice, -20, 19, f"{at}.nice", f"{_LINUX}; sched(7)")
    real_time = value.policy in {"SCHED_FIFO", "SCHED_RR"}
    low, high = (1, 99) if real_time else (0, 0)
    priority = value.priority if value.priority is not None or not real_time else 0
    yield from check_range(priority, low, high, f"{at}.priority", f"{_LINUX}; sched(7)")
    yield from _deadline(value, at)


def _deadline(value: Scheduler, at: str) -> Iterator[Problem]:
    times = {"runtime": value.runtime, "deadline": value.deadline, "period": value.period}
    if value.policy != "SCHED_DEADLINE":
        for name, time in times.items():
            if time:
                yield Problem(f"{at}.{name}", "is for SCHED_DEADLINE only", _LINUX)
        return
    runtime, deadline = value.runtime or 0, value.deadline or 0
    period = value.period or deadline
    if not 0 < runtime <= deadline <= period:
        message = f"expected 0 < runtime <= deadline <= period, got {runtime}, {deadline}, {period}"
        yield Problem(at, message, f"{_LINUX}; sched(7)")


def _io_priority(value: IOPriority, at: str) -> Iterator[Problem]:
    """A class, and a level from 0 to 7."""
    yield from check_choice(value.class_, _IO_CLASSES, f"{at}.class", _LINUX)
    if value.priority is None:
        yield Problem(f"{at}.priority", "is required", _LINUX)
    yield from check_range(value.priority, 0, 7, f"{at}.priority", _LINUX)


def _affinity(value: ExecCPUAffinity, at: str) -> Iterator[Problem]:
    """CPU lists."""
    yield from check_cpu_list(value.initial, f"{at}.initial", _LINUX)
    yield from check_cpu_list(value.final, f"{at}.final", _LINUX)


RULES: Final = {
    "Capabilities": _capabilities,
    "ExecCPUAffinity": _affinity,
    "IOPriority": _io_priority,
    "Process": _process,
    "Rlimit": _rlimit,
    "Scheduler": _scheduler,
    "User": _user,
}
