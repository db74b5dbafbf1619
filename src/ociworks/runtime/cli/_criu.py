"""``checkpoint`` and ``restore``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

from attrs import fields

from ociworks._linux.process import PR_SET_CHILD_SUBREAPER, prctl
from ociworks.runtime import CheckpointOptions, Container, RestoreOptions, Runtime
from ociworks.runtime.checkpoint import CgroupsMode
from ociworks.runtime.cli import _files, _tty
from ociworks.runtime.cli._follow import caught_signals, exit_status, follow
from ociworks.runtime.cli._words import failed
from ociworks.spec import Bundle

if TYPE_CHECKING:
    from ociworks.runtime.cli._call import Call
    from ociworks.spec.runtime import Spec

__all__ = ["main"]

_Options = TypeVar("_Options", CheckpointOptions, RestoreOptions)
_CONFIGURATION: Final = ("org.criu.config", "/etc/criu/runc.conf")
"""The annotation that names a file with settings for criu, and the file where none does, as with runc."""
_IMAGES: Final = "checkpoint"
"""Where images go without ``--image-path``, as with runc."""


def main(call: Call) -> int:
    """Write a container to files and remove it unless it shall run on, or make one from such files."""
    with failed(call.command):
        return _checkpoint(call) if call.command == "checkpoint" else _restore(call)


def _checkpoint(call: Call) -> int:
    with call.runtime() as runtime:
        container = runtime.get(call.container_id)
        options = _options(call, CheckpointOptions, container.spec)
        container.checkpoint(options)
        if not options.leave_running and not options.pre_dump:
            container.delete(force=True)
    return 0


def _restore(call: Call) -> int:
    flags, bundle = call.flags, Bundle.load(call.flags.text("bundle") or ".")
    options = _options(call, RestoreOptions, bundle.spec)
    detach, process = flags.flag("detach"), bundle.spec.process
    terminal = process is not None and bool(process.terminal)
    _tty.check_socket(flags.text("console-socket"), terminal=terminal, detach=detach)
    if detach:
        with call.runtime() as runtime:
            _detached(call, runtime, bundle, options)
        return 0
    return _to_its_end(call, bundle, options)


def _detached(call: Call, runtime: Runtime, bundle: Bundle, options: RestoreOptions) -> None:
    container = _restored(call, runtime, bundle, options)
    if container.console is not None:
        try:
            _tty.send_console(call.flags.text("console-socket"), container.console)
        except BaseException:
            container.delete(force=True)
            raise
        container.console.close()


def _restored(call: Call, runtime: Runtime, bundle: Bundle, options: RestoreOptions) -> Container:
    container = runtime.restore(call.container_id, bundle, options, detach=True)
    try:
        if call.flags.given("pid-file"):
            _files.write_pid(call.flags.text("pid-file"), container.pid)
    except BaseException:
        container.delete(force=True)
        raise
    return container


def _to_its_end(call: Call, bundle: Bundle, options: RestoreOptions) -> int:
    """In the foreground: we adopt what criu leaves behind."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    with caught_signals() as signals:
        with call.runtime() as runtime:
            container = _restored(call, runtime, bundle, options)
            pidfd = os.pidfd_open(container.pid)
        try:
            follow(pidfd, signals, container.console)
            status = container.wait()
        finally:
            os.close(pidfd)
            container.delete(force=True)
        return exit_status(status)


def _options(call: Call, kind: type[_Options], spec: Spec) -> _Options:
    """Every field from the flag of its name; :func:`ociworks.runtime.checkpoint.flags` is the way back."""
    flags = call.flags
    given: dict[str, Any] = {}
    for item in fields(kind):
        name = item.name.replace("_", "-")
        match item.default:
            case None:
                continue
            case bool():
                given[item.name] = flags.flag(name)
            case int(otherwise):
                given[item.name] = flags.number(name, otherwise)
            case tuple():
                given[item.name] = tuple(flags.texts(name))
            case _:
                given[item.name] = flags.text(name)
    given |= {"image_path": _images(call), "manage_cgroups_mode": _mode(call), "config_file": _config(spec)}
    return kind(**given)


def _config(spec: Spec) -> str:
    annotation, otherwise = _CONFIGURATION
    named = spec.annotations.get(annotation)
    return named if named is not None else otherwise if os.path.exists(otherwise) else ""


def _images(call: Call) -> str:
    return os.path.abspath(call.flags.text("image-path") or _IMAGES)


def _mode(call: Call) -> CgroupsMode:
    given = call.flags.text("manage-cgroups-mode") or "soft"
    for mode in get_args(CgroupsMode):
        if mode == given:
            found: CgroupsMode = mode
            return found
    raise ValueError(
        f"--manage-cgroups-mode: expected one of {', '.join(get_args(CgroupsMode))}, got {given!a}"
    )
