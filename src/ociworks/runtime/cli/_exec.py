"""``exec``."""

from __future__ import annotations

import errno
from typing import Final

from ociworks.errors import CreateFailed
from ociworks.runtime import Console, Container, ExecOptions
from ociworks.runtime.cli import _files, _sockets, _tty
from ociworks.runtime.cli._call import Call
from ociworks.runtime.cli._process import process_of, sub_groups
from ociworks.runtime.cli._words import of
from ociworks.spec.runtime import Process

__all__ = ["main"]

_FAILED: Final = 255
"""What cannot be told from the program's own status, as runc has it."""


def main(call: Call) -> int:
    """Run a further process; its status, or 255 when there is none."""
    try:
        return _exec(call)
    except Exception as error:  # noqa: BLE001 - the boundary of a process: clients read one line and a status
        return call.log.fatal(f"exec failed: {_place(call, error)}{of(error)}", _FAILED)


def _place(call: Call, error: Exception) -> str:
    """What is said first of a control group that is not there."""
    asked = isinstance(error, CreateFailed) and error.step == "spawn" and error.errno == errno.ENOENT
    return "error adding pid to cgroup: " if asked and call.flags.given("cgroup") else ""


def _exec(call: Call) -> int:
    with call.runtime() as runtime:
        container = runtime.get(call.container_id)
        _sockets.check_socket("pidfd", call.flags.text("pidfd-socket"))
        _refuse(container.status, ignore_paused=call.flags.flag("ignore-paused"))
        if call.flags.flag("detach"):
            return _detached(call, container)
        return _attached(call, container)


def _refuse(status: str, *, ignore_paused: bool) -> None:
    if status == "stopped":
        raise ValueError("cannot exec in a stopped container")
    if status == "paused" and not ignore_paused:
        raise ValueError("cannot exec in a paused container (use --ignore-paused to override)")


def _options(call: Call, *, detach: bool) -> ExecOptions:
    return ExecOptions(
        pass_fds=_files.preserved(call.flags.number("preserve-fds") or 0),
        detach=detach,
        ignore_paused=call.flags.flag("ignore-paused"),
        before_start=True,
        home=True,
        groups=sub_groups(call.flags.texts("cgroup")),
    )


def _target(call: Call, container: Container) -> Process:
    target = process_of(call, container)
    if call.log.debugs:
        from ociworks.runtime.cli._debug import tell_affinity

        affinity = target.exec_cpu_affinity
        tell_affinity(call.log, affinity.initial if affinity is not None else None)
    return target


def _detached(call: Call, container: Container) -> int:
    target, path = _target(call, container), call.flags.text("console-socket")
    _tty.check_socket(path, terminal=bool(target.terminal), detach=True)
    process = container.spawn(target, stdin=None, options=_options(call, detach=True))
    try:
        if process.console is not None:
            _tty.send_console(path, process.console)
        _tell(call, process.pid)
    except BaseException:
        process.kill("KILL")
        raise
    finally:
        process.close()
    return 0


def _attached(call: Call, container: Container) -> int:
    from ociworks.runtime.cli._follow import caught_signals, exit_status, follow

    target = _target(call, container)
    _tty.check_socket(call.flags.text("console-socket"), terminal=bool(target.terminal), detach=False)
    with (
        caught_signals() as signals,
        container.spawn(target, stdin=None, options=_options(call, detach=False)) as process,
    ):
        _tell(call, process.pid)
        console: Console | None = process.console
        follow(process.pidfd, signals, console)
        return exit_status(process.wait())


def _tell(call: Call, pid: int) -> None:
    _sockets.send_pidfd(call.flags.text("pidfd-socket"), pid)
    if call.flags.given("pid-file"):
        _files.write_pid(call.flags.text("pid-file"), pid)
