"""The ``process`` of a configuration as operations, in the order of RT-25 (see ``_init.identity``)."""

from __future__ import annotations

import os

from ociworks._linux.numbers import CAPABILITIES, last_capability
from ociworks.errors import InvalidSpec, NotSupported, Problem, quote
from ociworks.runtime._same import kept
from ociworks.runtime.plan import labels, ops
from ociworks.runtime.plan.numa import memory_policy, numbers
from ociworks.spec.runtime import Capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final

    from ociworks.runtime.seccomp import CompiledFilter
    from ociworks.spec.runtime import IOPriority, Linux, Personality, Process, Scheduler

__all__ = [
    "capability_mask",
    "console_size",
    "entry_ops",
    "every_cpu",
    "final_ops",
    "home_ops",
    "initial_affinity",
    "setup_ops",
    "waiting_ops",
]

_NUMBERS: Final = {name: number for number, name in enumerate(CAPABILITIES)}
_POLICIES: Final = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
_SCHEDULER_FLAGS: Final = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
_IO_CLASSES: Final = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_PERSONALITIES: Final = {"LINUX": 0x0000, "LINUX32": 0x0008}
_AFFINITY: Final = "$.process.execCPUAffinity"
_MOST_CHARACTERS: Final = (1 << 16) - 1
"""What the kernel has room for (ioctl_tty(2), TIOCSWINSZ)."""
_DEFAULT_UMASK: Final = 0o022
_last_capability = kept(1)(last_capability)
_configured = kept(1)(os.sysconf)


def capability_mask(names: Iterable[str], where: str) -> int:
    """The bit mask of capability names; unknown ones and those newer than the kernel are errors, never ignored."""
    mask, last = 0, _last_capability()
    for name in names:
        number = _NUMBERS.get(name)
        if number is None:
            raise InvalidSpec([Problem(where, f"unknown capability {quote(name)}")])
        if number > last:
            raise NotSupported(f"{where}: this kernel does not know {name}")
        mask |= 1 << number
    return mask


def initial_affinity(process: Process) -> tuple[int, ...]:
    """The CPUs of a process that joins, before it enters the control groups; none when they are not given."""
    affinity = process.exec_cpu_affinity
    if affinity is None or not affinity.initial:
        return ()
    return numbers(affinity.initial, f"{_AFFINITY}.initial")


def console_size(process: Process) -> tuple[int, int]:
    """Width and height of the terminal in characters; zeros when they are not given. InvalidSpec for too many."""
    size = process.console_size
    if size is None:
        return 0, 0
    if size.width > _MOST_CHARACTERS or size.height > _MOST_CHARACTERS:
        found = f"{size.width} by {size.height}"
        raise InvalidSpec(
            [Problem("$.process.consoleSize", f"expected at most {_MOST_CHARACTERS} each, got {found}")]
        )
    return size.width, size.height


def entry_ops(process: Process) -> Iterator[ops.Op]:
    """After the keyring: a session of its own, and the out-of-memory score."""
    yield ops.session()
    if process.oom_score_adj is not None:
        yield ops.oom_score_adj(process.oom_score_adj)


def home_ops(process: Process) -> Iterator[ops.Op]:
    """Find a ``HOME`` for a program that is given none; before a filter, which may deny to look for it."""
    given = [entry for entry in process.env if entry.startswith("HOME=")]
    if not given or given[-1] == "HOME=":
        yield ops.home(process.user.uid)


def every_cpu() -> Iterator[ops.Op]:
    """Undo what the caller is bound to (taskset(1)): a container's CPUs are those of its control group."""
    configured = _configured("SC_NPROCESSORS_CONF")
    if len(os.sched_getaffinity(0)) < configured:
        yield ops.cpu_affinity(range(configured))


def setup_ops(process: Process, linux: Linux, *, joins: bool = False) -> Iterator[ops.Op]:
    """What needs the rights of the runtime and comes after the root switch: limits, scheduling, labels.

    ``joins``: the process comes to a container that runs.
    """
    personality = linux.personality
    if process.terminal:
        yield ops.take_terminal()
    if personality is not None:
        yield ops.personality(_personality(personality))
    for index, limit in enumerate(process.rlimits):
        import resource

        number = getattr(resource, limit.type, None)
        if not limit.type.startswith("RLIMIT_") or number is None:
            raise InvalidSpec(
                [Problem(f"$.process.rlimits[{index}].type", f"unknown limit {quote(limit.type)}")]
            )
        yield ops.rlimit(number, limit.soft, limit.hard)
    if process.scheduler is not None:
        cpu = linux.resources.cpu if linux.resources is not None else None
        yield ops.scheduler(_scheduler(process.scheduler), cpus=cpu is not None and bool(cpu.cpus))
    if process.io_priority is not None:
        yield ops.io_priority(*_io_priority(process.io_priority))
    if linux.memory_policy is not None:
        yield memory_policy(linux.memory_policy)
    if joins and process.exec_cpu_affinity is not None and process.exec_cpu_affinity.final:
        yield ops.cpu_affinity(numbers(process.exec_cpu_affinity.final, f"{_AFFINITY}.final"))
    yield from labels.label_ops(process)


def final_ops(process: Process, compiled: CompiledFilter | None, *, may_set_groups: bool) -> Iterator[ops.Op]:
    """From the last rights to the program. A filter is the last before that when no-new-privileges lets it."""
    user = process.user
    early = compiled is not None and not process.no_new_privileges
    if process.no_new_privileges:
        yield ops.no_new_privileges()
    if user.uid and not process.terminal:
        yield ops.own_streams(user.uid)
    yield ops.close_descriptors()
    yield ops.change_directory(process.cwd, last=False)  # an early filter may deny what proves it
    if early and compiled is not None:
        yield _filter(compiled)
    sets = process.capabilities or Capabilities()
    masks = {
        name: capability_mask(getattr(sets, name), f"$.process.capabilities.{name}")
        for name in ("bounding", "effective", "permitted", "inheritable", "ambient")
    }
    yield ops.bounding(masks["bounding"])
    if user.additional_gids and not may_set_groups:
        raise NotSupported(
            "$.process.user.additionalGids: a single-identity user namespace cannot set supplementary groups; "
            "map ranges with newgidmap (/etc/subgid)"
        )
    groups = list(dict.fromkeys((user.gid, *user.additional_gids)))
    yield ops.identity(user.uid, user.gid, groups if may_set_groups else None)
    ambient = masks["ambient"] & masks["permitted"] & masks["inheritable"]  # the kernel grants no others
    yield ops.capability_sets(masks["effective"], masks["permitted"], masks["inheritable"], ambient)
    yield ops.change_directory(process.cwd, last=True)
    yield ops.umask(_DEFAULT_UMASK if user.umask is None else user.umask)
    if compiled is not None and not early:
        yield _filter(compiled)
    yield _execute(process)


def waiting_ops(process: Process, *, detached: bool) -> Iterator[ops.Op]:
    """Between create and start."""
    if process.args:
        search = _search(os.fsencode(entry) for entry in process.env)
        yield ops.find_program(os.fsencode(process.args[0]), search, process.cwd)
    if detached:
        yield ops.outlive()
    yield ops.wait_start()


def _search(environment: Iterable[bytes]) -> bytes:
    """The last ``PATH``."""
    return next((entry[5:] for entry in reversed([*environment]) if entry.startswith(b"PATH=")), b"")


def _filter(compiled: CompiledFilter) -> ops.Op:
    build = ops.seccomp_listener if compiled.needs_listener else ops.seccomp
    return build(compiled.program, compiled.flags)


def _execute(process: Process) -> ops.Op:
    if not process.args:
        raise InvalidSpec([Problem("$.process.args", "expected at least one argument, the program")])
    environment = [os.fsencode(entry) for entry in process.env]
    for index, entry in enumerate(environment):
        if b"=" not in entry or entry.startswith(b"="):
            raise InvalidSpec(
                [Problem(f"$.process.env[{index}]", f"expected NAME=value, got {quote(entry)}")]
            )
    return ops.execute([os.fsencode(arg) for arg in process.args], environment, _search(environment))


def _personality(personality: Personality) -> int:
    if personality.flags:
        raise NotSupported("$.linux.personality.flags: no flag is defined")
    if personality.domain not in _PERSONALITIES:
        raise InvalidSpec(
            [Problem("$.linux.personality.domain", f"expected one of {sorted(_PERSONALITIES)}")]
        )
    return _PERSONALITIES[personality.domain]


def _scheduler(scheduler: Scheduler) -> tuple[int, ...]:
    if scheduler.policy not in _POLICIES:
        raise InvalidSpec(
            [Problem("$.process.scheduler.policy", f"unknown policy {quote(scheduler.policy)}")]
        )
    flags = 0
    for flag in scheduler.flags:
        if flag not in _SCHEDULER_FLAGS:
            raise InvalidSpec([Problem("$.process.scheduler.flags", f"unknown flag {quote(flag)}")])
        flags |= _SCHEDULER_FLAGS[flag]
    return (
        _POLICIES[scheduler.policy],
        flags,
        scheduler.nice or 0,
        scheduler.priority or 0,
        scheduler.runtime or 0,
        scheduler.deadline or 0,
        scheduler.period or 0,
    )


def _io_priority(priority: IOPriority) -> tuple[int, int]:
    if priority.class_ not in _IO_CLASSES:
        raise InvalidSpec([Problem("$.process.ioPriority.class", f"unknown class {quote(priority.class_)}")])
    return _IO_CLASSES[priority.class_], priority.priority or 0
