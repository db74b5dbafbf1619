"""``create`` and ``run``."""

from __future__ import annotations

import os

from ociworks._linux.numbers import known_capabilities
from ociworks.errors import InvalidSpec, Problem
from ociworks.runtime.cli import _files
from ociworks.runtime.cli._flags import FALSE, TRUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.runtime import Container, Runtime
    from ociworks.runtime.cli._call import Call
    from ociworks.runtime.options import RunOptions
    from ociworks.spec import Bundle
    from ociworks.spec.runtime import Spec

_LETTERS = frozenset("rwm")

__all__ = ["check_terminal", "granted", "main", "run_options", "tell"]


def main(call: Call) -> int:
    """Make a container, and for ``run`` start it and, unless it shall be left alone, wait for its end."""
    try:
        _check(call)
        plain = call.custom is None and not call.log.debugs and not call.globals.flag("systemd-cgroup")
        if call.command == "create" and plain and not os.environ.get("NOTIFY_SOCKET"):
            from ociworks.runtime.cli._make import make

            return make(call)
        return _main(call)
    except Exception as error:
        from ociworks.runtime.cli._words import failure

        raise failure(call.command, error) from error


def _check(call: Call) -> None:
    """Judge what most calls do not say: ``--rootless``, and where a pidfd is to go."""
    rootless, path = call.globals.text("rootless", "auto"), call.flags.text("pidfd-socket")
    if rootless not in ("", "auto", *TRUE):
        _check_groups(rootless)
    if path:
        from ociworks.runtime.cli import _sockets

        _sockets.check_socket("pidfd", path)


def _check_groups(rootless: str) -> None:
    """Who says false wants control groups, or no container."""
    if rootless not in FALSE:
        raise ValueError(f"--rootless: expected true, false or auto, got {rootless[:100]!a}")
    from ociworks.errors import NotSupported
    from ociworks.runtime import cgroups

    found = cgroups.detect()
    if not found.available:
        raise NotSupported(f"--rootless={rootless}: {found.reason}")


def tell(call: Call, pid: int) -> None:
    """Tell whoever waits for the process of its pid, as the flags say."""
    if call.flags.given("pidfd-socket"):
        from ociworks.runtime.cli import _sockets

        _sockets.send_pidfd(call.flags.text("pidfd-socket"), pid)
    if call.flags.given("pid-file"):
        _files.write_pid(call.flags.text("pid-file"), pid)


def _main(call: Call) -> int:
    """The same by a Runtime, which knows more than ``create`` mostly needs."""
    bundle = _bundle(call.flags.text("bundle") or ".")
    bundle = bundle.replace(granted(call, bundle.spec))
    detach = call.command == "create" or call.flags.flag("detach")
    check_terminal(call, bundle.spec, detach=detach)
    with call.runtime() as runtime:
        if detach:
            container = _create(call, runtime, bundle)
            if call.command == "run":
                _start(call, container)
            return 0
    from ociworks.runtime.cli._run import run

    return run(call, bundle)


def _bundle(path: str) -> Bundle:
    from ociworks.spec import Bundle

    try:
        return Bundle.load(path)
    except FileNotFoundError:
        raise ValueError("JSON specification file config.json not found") from None


def check_terminal(call: Call, spec: Spec, *, detach: bool) -> None:
    """Raise InvalidSpec without a process, ValueError when the terminal and the console socket do not fit."""
    if spec.process is None:
        raise InvalidSpec([Problem("$.process", "a container to run needs it")])
    terminal, path = bool(spec.process.terminal), call.flags.text("console-socket")
    if terminal or path:
        from ociworks.runtime.cli import _tty

        _tty.check_socket(path, terminal=terminal, detach=detach)


def granted(call: Call, spec: Spec) -> Spec:
    """The configuration with what can be had of it (``_granted``, which is loaded for unusual ones only)."""
    linux, sets = spec.linux, spec.process.capabilities if spec.process is not None else None
    names = (
        (*sets.bounding, *sets.effective, *sets.inheritable, *sets.permitted, *sets.ambient) if sets else ()
    )
    rules = linux.resources.devices if linux is not None and linux.resources is not None else ()
    if (
        known_capabilities().issuperset(names)
        and not (sets and sets.ambient)
        and not (linux and linux.mount_label)
        and all(_LETTERS.issuperset(rule.access or "") for rule in rules)
    ):
        return spec
    from ociworks.runtime.cli import _granted

    return _granted.granted(spec, call.log.caution, names_must_be_known=call.command == "create")


def run_options(call: Call) -> RunOptions:
    """What the command line and its environment (``LISTEN_FDS``) say of descriptors and keys."""
    from ociworks.runtime.options import RunOptions

    listening = _files.listening()
    preserved = _files.preserved(listening + (call.flags.number("preserve-fds") or 0))
    return RunOptions(
        pass_fds=preserved,
        listen_fds=listening,
        new_keyring=not call.flags.flag("no-new-keyring"),
        no_pivot=call.flags.flag("no-pivot"),
        home=True,
    )


def _create(call: Call, runtime: Runtime, bundle: Bundle) -> Container:
    """Make a detached container and tell who waits for its terminal and its pid; on failure nothing is left."""
    container = runtime.create(call.container_id, bundle, detach=True, options=run_options(call))
    try:
        if container.console is not None:
            from ociworks.runtime.cli import _tty

            _tty.send_console(call.flags.text("console-socket"), container.console)
            container.console.close()
        tell(call, container.pid)
    except BaseException:
        container.delete(force=True)
        raise
    return container


def _start(call: Call, container: Container) -> None:
    try:
        if os.environ.get("NOTIFY_SOCKET"):
            from ociworks.runtime.cli import _notify

            _notify.start(call.root, container)
        else:
            container.start()
    except BaseException:
        container.delete(force=True)
        raise
