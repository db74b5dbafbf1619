"""Operations on the process: limits, capabilities, identity, filter; the program itself is in ``start``.

The order in which a plan has them (RT-25): session keyring, namespaces, mounts, control groups (before the first mount
that shows them, and before anything of the container's runs), devices, root, limits, no-new-privileges, [filter when
it needs privilege], bounding set, groups, gid, uid, capabilities, umask, working directory, [filter], signals,
descriptors, execve.
"""

from __future__ import annotations

import _socket
import errno
import os
import resource

from ociworks._linux import capabilities, process
from ociworks.runtime import _cgroupfs, _cgroupkill
from ociworks.runtime._init import network, procfs, wire
from ociworks.runtime._init.context import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ociworks.runtime._init.context import Context

__all__ = [
    "bounding",
    "capability_sets",
    "change_directory",
    "close_descriptors",
    "cpu_affinity",
    "domainname",
    "hostname",
    "identity",
    "io_priority",
    "join_cgroups",
    "keyring",
    "loopback_up",
    "memory_policy",
    "network_devices",
    "no_new_privileges",
    "oom_score_adj",
    "personality",
    "reach",
    "rlimit",
    "scheduler",
    "seccomp",
    "seccomp_listener",
    "session",
    "umask",
    "unshare",
]

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_KEEPCAPS: Final = 8
_PR_SET_NO_NEW_PRIVS: Final = 38
_SIGKILL: Final = 9
_NETLINK_ROUTE: Final = 0
_INFINITY: Final = (1 << 64) - 1


def keyring(context: Context, name: str) -> None:  # noqa: ARG001 - operations share one signature
    """A session keyring of our own; a kernel or sandbox without keyrings has none to leak."""
    try:
        process.join_session_keyring(name)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM, errno.EDQUOT):
            raise


def join_cgroups(context: Context, membership: tuple[tuple[str, str], ...]) -> None:
    """Wait for the container's control groups, enter them by descriptors from the host side, prove it (RT-21)."""
    if context.groups is not None:
        kind, _, tasks = wire.receive(context.groups, wire.MAX_FDS)
        if kind != wire.CONTINUE:
            os._exit(128 + _SIGKILL)
        context.groups.close()
        context.groups = None
        for fd in tasks:
            os.write(fd, b"0")
            os.close(fd)
    if membership:
        wrong = _cgroupfs.misplaced(membership, _cgroupkill.read_text("/proc/self/cgroup"))
        if wrong is not None:
            controller, expected, found = wrong
            raise StepError(f"expected to be in {expected}, found {found}", controller, errno.EXDEV)


def unshare(context: Context, kinds: int) -> None:  # noqa: ARG001
    """Leave namespaces late: the cgroup namespace takes its root from where we are by now."""
    process.unshare(kinds)


def hostname(context: Context, name: str) -> None:  # noqa: ARG001
    """Set the hostname of our UTS namespace."""
    process.set_hostname(name)


def domainname(context: Context, name: str) -> None:  # noqa: ARG001
    """Set the NIS domain name of our UTS namespace."""
    process.set_domainname(name)


def loopback_up(context: Context) -> None:  # noqa: ARG001
    """Bring the loopback interface of a new network namespace up."""
    network.bring_loopback_up()


def oom_score_adj(context: Context, value: int) -> None:  # noqa: ARG001
    """Write our oom_score_adj through the host's procfs, before the root changes.

    As root of a user namespace we may not write the file: that was done before.
    """
    try:
        procfs.write("self/oom_score_adj", b"%d" % value, links=True)
    except OSError as error:
        if error.errno != errno.EACCES or procfs.read("self/oom_score_adj").strip() != b"%d" % value:
            raise


def rlimit(context: Context, number: int, soft: int, hard: int) -> None:  # noqa: ARG001
    """setrlimit(2); 2**64-1 means infinity."""
    values = [resource.RLIM_INFINITY if value == _INFINITY else value for value in (soft, hard)]
    try:
        resource.setrlimit(number, (values[0], values[1]))
    except ValueError as error:
        raise StepError(str(error), "", errno.EPERM) from None


def scheduler(context: Context, values: tuple[int, ...], cpus: bool) -> None:  # noqa: ARG001, FBT001
    """sched_setattr(2). ``cpus``: the container has only some of the CPUs, which deadlines do not go together with."""
    try:
        process.set_scheduler(values)
    except OSError as error:
        if not cpus or error.errno != errno.EPERM:
            raise
        said = "process scheduler can't be used together with AllowedCPUs, or not with these rights"
        raise StepError(said, "", errno.EPERM) from None


def memory_policy(context: Context, mode: int, nodes: bytes) -> None:  # noqa: ARG001
    """set_mempolicy(2), which the program inherits."""
    process.set_memory_policy(mode, nodes)


def cpu_affinity(context: Context, cpus: tuple[int, ...]) -> None:  # noqa: ARG001
    """sched_setaffinity(2)."""
    os.sched_setaffinity(0, cpus)


def io_priority(context: Context, class_: int, level: int) -> None:  # noqa: ARG001
    """ioprio_set(2)."""
    process.set_io_priority(class_, level)


def personality(context: Context, persona: int) -> None:  # noqa: ARG001
    """personality(2)."""
    process.set_personality(persona)


def session(context: Context) -> None:  # noqa: ARG001
    """A session and process group of our own."""
    os.setsid()


def reach(context: Context, name: str, fds: tuple[int, ...] = ()) -> None:
    """Report a named point (the caller runs hooks there), with what it needs for it, and wait to go on."""
    wire.send(context.sync, wire.POINT, name.encode(), fds)
    kind, _, _ = wire.receive(context.sync)
    if kind != wire.CONTINUE:
        os._exit(128 + _SIGKILL)


def network_devices(context: Context) -> None:
    """Give the caller a netlink socket, which belongs to the namespace that it was made in, and wait."""
    channel = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
    try:
        reach(context, wire.NETWORK_DEVICES, (channel.fileno(),))
    finally:
        channel.close()


def no_new_privileges(context: Context) -> None:
    """No execve from here on can add privileges."""
    process.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    context.no_new_privileges = True


def bounding(context: Context, keep: int) -> None:
    """Drop all other capabilities from the bounding set."""
    capabilities.drop_bounding(keep, context.last_capability)


def identity(context: Context, uid: int, gid: int, groups: tuple[int, ...] | None) -> None:
    """Become the user: groups first (None: the user namespace denies setgroups), then gid, then uid; read back."""
    process.prctl(_PR_SET_KEEPCAPS, 1)
    if groups is not None:
        os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid):
        raise StepError(f"expected uid {uid} and gid {gid}, got {os.getresuid()} and {os.getresgid()}")
    if groups is not None and sorted(set(os.getgroups())) != sorted(set(groups)):
        raise StepError(f"expected supplementary groups {groups}, got {os.getgroups()}")
    if not context.outlives:
        process.prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    process.prctl(_PR_SET_DUMPABLE, 0)


def capability_sets(context: Context, effective: int, permitted: int, inheritable: int, ambient: int) -> None:
    """Set the sets of the process; ambient last, because it needs the other two."""
    capabilities.set_capabilities(effective, permitted, inheritable)
    capabilities.raise_ambient(ambient, context.last_capability)


def umask(context: Context, value: int) -> None:  # noqa: ARG001
    """Set the file mode creation mask."""
    os.umask(value)


def change_directory(context: Context, cwd: str, last: bool) -> None:  # noqa: FBT001
    """Enter the working directory as the runtime, and if that may not, as the user (``last``); then ask where we are.

    getcwd fails when the directory is outside the root, which is how a descriptor leak would show (RT-08).
    """
    if last and not context.cwd_pending:
        return
    try:
        os.chdir(cwd)
    except PermissionError:
        if last:
            raise
        context.cwd_pending = cwd
        return
    context.cwd_pending = ""
    try:
        found = os.getcwd()
    except FileNotFoundError:
        found = ""
    if not found.startswith("/"):
        raise StepError("the working directory is outside the container's root", cwd, errno.EPERM)


def close_descriptors(context: Context) -> None:
    """Mark all but the program's own close-on-exec; before the filter, which may deny close_range."""
    process.close_on_exec_from(3 + context.passed)


def seccomp(context: Context, program: bytes, flags: int) -> None:  # noqa: ARG001
    """Install the compiled filter."""
    process.install_seccomp(program, flags)


def seccomp_listener(context: Context, program: bytes, flags: int) -> None:
    """Install a filter that asks somebody, who gets the descriptor before the first call that would be asked about.

    Until it is sent we make no call but sendmsg(2), about which no filter may ask (``seccomp.checks``).
    """
    listener = process.install_seccomp(program, flags)
    reach(context, wire.LISTENER, (listener,))
    os.close(listener)
