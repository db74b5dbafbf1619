"""Every command with its flags and the number of its arguments."""

from __future__ import annotations

from ociworks.runtime.cli._flags import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from ociworks.runtime.cli._flags import Flags

__all__ = ["COMMANDS", "GLOBALS", "Command"]

_MAKING: Final = ("_create", "_exec")


class Command:
    """One command: its module, what it is for, its flags, and how many arguments it takes."""

    def __init__(
        self,
        module: str,
        about: str,
        usage: str,
        flags: Flags,
        *,
        arguments: tuple[int, int | None] = (1, 1),
        reorder: bool = True,
    ) -> None:
        self.module, self.about, self.usage, self.flags = module, about, usage, flags
        self._least, self._most = arguments
        self.reorder = reorder
        self.helper = module in _MAKING
        """Whether it makes a process, for which the helper is started before anything else."""

    def check(self, name: str, positional: Sequence[str]) -> None:
        """Raise UsageError for a wrong number of arguments."""
        count = len(positional)
        if self._least <= count and (self._most is None or count <= self._most):
            return
        if self._least == self._most:
            text = f"exactly {self._least}"
        elif count < self._least:
            text = f"a minimum of {self._least}"
        else:
            text = f"a maximum of {self._most}"
        raise UsageError(
            name, f'ociworks-runtime: "{name}" requires {text} argument(s)', "Incorrect Usage.\n"
        )


GLOBALS: Final[Flags] = {
    "debug": ("bool", "", "log what is done, too"),
    "log": ("text", "", "append log lines to this file instead of writing them to standard error"),
    "log-format": ("text", "", "text or json (default: text)"),
    "root": ("text", "", "the directory of the state of containers"),
    "criu": ("text", "", "the criu program for checkpoint and restore"),
    "systemd-cgroup": ("bool", "", "make control groups through systemd; cgroupsPath is slice:prefix:name"),
    "rootless": (
        "text",
        "",
        "true, false or auto: whether to go on without control groups where none can be made (default: auto)",
    ),
    "version": ("bool", "v", "print the version"),
}

_CREATE: Final[Flags] = {
    "bundle": ("text", "b", "the directory of the bundle (default: the current one)"),
    "console-socket": ("text", "", "a Unix socket that receives the master of the container's terminal"),
    "pidfd-socket": ("text", "", "a Unix socket that receives a pidfd of the process"),
    "pid-file": ("text", "", "write the process ID to this file"),
    "no-pivot": ("bool", "", "do not use pivot_root, for a root on a ramdisk"),
    "no-new-keyring": ("bool", "", "keep the caller's session keyring"),
    "preserve-fds": ("number", "", "pass so many descriptors after the standard streams to the container"),
}
_CRIU: Final[Flags] = {
    "image-path": ("text", "", "the directory of the images"),
    "work-path": ("text", "", "the directory of criu's own files and logs"),
    "tcp-established": ("bool", "", "allow open TCP connections"),
    "ext-unix-sk": ("bool", "", "allow Unix sockets to the outside"),
    "shell-job": ("bool", "", "allow a terminal that belongs to somebody else"),
    "lazy-pages": ("bool", "", "move memory on demand, by userfaultfd"),
    "file-locks": ("bool", "", "handle file locks"),
    "manage-cgroups-mode": ("text", "", "soft, full, strict or ignore"),
    "empty-ns": ("texts", "", "a namespace to leave empty, such as network"),
    "auto-dedup": ("bool", "", "free what a parent image already has"),
}
_ONE: Final = "<container-id>"

COMMANDS: Final = {
    "checkpoint": Command(
        "_criu",
        "write a running container to files",
        _ONE,
        {
            **_CRIU,
            "parent-path": ("text", "", "the images of an earlier pre-dump"),
            "tcp-skip-in-flight": ("bool", "", "leave TCP connections out that are not accepted yet"),
            "link-remap": ("bool", "", "give files a name again that have none any more, where possible"),
            "leave-running": ("bool", "", "let the container run on"),
            "status-fd": ("number", "", "criu writes a zero byte here when it serves pages"),
            "page-server": ("text", "", "ADDRESS:PORT of a page server"),
            "pre-dump": ("bool", "", "write memory only and let the container run on"),
        },
    ),
    "create": Command("_create", "make a container", _ONE, _CREATE),
    "delete": Command(
        "_delete",
        "remove a container that has ended, and all that is left of it",
        _ONE,
        {"force": ("bool", "f", "end it first if it is running")},
    ),
    "events": Command(
        "_events",
        "print statistics and memory shortages",
        _ONE,
        {
            "interval": ("duration", "", "between two statistics (default: 5s)"),
            "stats": ("bool", "", "print the statistics once"),
        },
    ),
    "exec": Command(
        "_exec",
        "run a further process in a container",
        f"{_ONE} <command> [argument...]  or  -p process.json {_ONE}",
        {
            "console-socket": _CREATE["console-socket"],
            "cwd": ("text", "", "the working directory in the container"),
            "env": ("texts", "e", "a variable to set, NAME=value"),
            "tty": ("bool", "t", "give it a terminal"),
            "user": ("text", "u", "UID[:GID]"),
            "additional-gids": ("numbers", "g", "a further group"),
            "process": ("text", "p", "a file with the whole process as JSON"),
            "detach": ("bool", "d", "do not wait for its end"),
            "pidfd-socket": _CREATE["pidfd-socket"],
            "pid-file": _CREATE["pid-file"],
            "process-label": ("text", "", "its SELinux label"),
            "apparmor": ("text", "", "its AppArmor profile"),
            "no-new-privs": ("bool", "", "it cannot gain privileges"),
            "cap": ("texts", "c", "a capability to add"),
            "preserve-fds": _CREATE["preserve-fds"],
            "cgroup": ("texts", "", "[CONTROLLER,...:]PATH of a control group below the container's"),
            "ignore-paused": ("bool", "", "also in a paused container"),
        },
        arguments=(1, None),
        reorder=False,
    ),
    "kill": Command(
        "_kill",
        "send a signal (default: TERM) to the container's first process",
        f"{_ONE} [signal]",
        {"all": ("bool", "a", "to every process of the container")},
        arguments=(1, 2),
    ),
    "list": Command(
        "_state",
        "list the containers of the state root",
        "",
        {
            "format": ("text", "f", "table or json (default: table)"),
            "quiet": ("bool", "q", "print container IDs only"),
        },
        arguments=(0, 0),
    ),
    "pause": Command("_pause", "stop every process of a container", _ONE, {}),
    "ps": Command(
        "_ps",
        "list the processes of a container",
        f"{_ONE} [ps option...]",
        {"format": ("text", "f", "table or json (default: table)")},
        arguments=(1, None),
        reorder=False,
    ),
    "restore": Command(
        "_criu",
        "make a container from the files of a checkpoint",
        _ONE,
        {
            **_CRIU,
            "console-socket": _CREATE["console-socket"],
            "bundle": _CREATE["bundle"],
            "detach": ("bool", "d", "do not wait for its end"),
            "pid-file": _CREATE["pid-file"],
            "no-subreaper": ("bool", "", "do not adopt orphans"),
            "no-pivot": _CREATE["no-pivot"],
            "lsm-profile": ("text", "", "TYPE:NAME of a security profile"),
            "lsm-mount-context": ("text", "", "a security context for mounts"),
        },
    ),
    "resume": Command("_pause", "let the processes of a paused container go on", _ONE, {}),
    "run": Command(
        "_create",
        "make a container and start it",
        _ONE,
        {
            **_CREATE,
            "detach": ("bool", "d", "do not wait for its end"),
            "keep": ("bool", "", "do not remove it when it has ended"),
            "no-subreaper": ("bool", "", "do not adopt orphans"),
        },
    ),
    "spec": Command(
        "_about",
        "write a config.json to begin with",
        "",
        {
            "bundle": ("text", "b", "the directory to write it to"),
            "rootless": ("bool", "", "for a container of an ordinary user"),
        },
        arguments=(0, 0),
    ),
    "start": Command("_start", "let a created container run", _ONE, {}),
    "state": Command("_state", "print the state of a container", _ONE, {}),
    "update": Command(
        "_update",
        "change the limits of a container",
        _ONE,
        {
            "resources": ("text", "r", "a file with resources as JSON, or - for standard input"),
            "blkio-weight": ("number", "", "I/O weight, 10 to 1000"),
            "cpu-period": ("text", "", "CPU period in microseconds"),
            "cpu-quota": ("text", "", "CPU time in a period, in microseconds"),
            "cpu-burst": ("text", "", "CPU time that may be saved up, in microseconds"),
            "cpu-share": ("text", "", "CPU shares"),
            "cpu-rt-period": ("text", "", "real-time period in microseconds"),
            "cpu-rt-runtime": ("text", "", "real-time CPU time in a period, in microseconds"),
            "cpuset-cpus": ("text", "", "CPUs to use"),
            "cpuset-mems": ("text", "", "memory nodes to use"),
            "cpu-idle": ("text", "", "1: only what others leave"),
            "kernel-memory": ("text", "", "obsolete, ignored"),
            "kernel-memory-tcp": ("text", "", "obsolete, ignored"),
            "memory": ("text", "", "memory in bytes, also as 64m"),
            "memory-reservation": ("text", "", "memory to keep when it gets scarce"),
            "memory-swap": ("text", "", "memory and swap together; -1: unlimited"),
            "pids-limit": ("number", "", "processes and threads"),
            "l3-cache-schema": ("text", "", "Intel RDT cache schema"),
            "mem-bw-schema": ("text", "", "Intel RDT memory bandwidth schema"),
        },
    ),
    "features": Command("_about", "print what this runtime can do", "", {}, arguments=(0, None)),
}
