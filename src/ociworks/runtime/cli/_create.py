"""``create`` and ``run``."""

from __future__ import annotations

from ociworks.errors import InvalidSpec, Problem
from ociworks.runtime import Container, RunOptions, Runtime
from ociworks.runtime.cli import _files, _tty
from ociworks.runtime.cli._call import Call
from ociworks.runtime.cli._words import failed
from ociworks.spec import Bundle

__all__ = ["main", "run_options"]


def main(call: Call) -> int:
    """Make a container, and for ``run`` start it and, unless it shall be left alone, wait for its end."""
    with failed(call.command):
        bundle = _bundle(call.flags.text("bundle") or ".")
        detach = call.command == "create" or call.flags.flag("detach")
        terminal = _terminal(bundle)
        _tty.check_socket(call.flags.text("console-socket"), terminal=terminal, detach=detach)
        with call.runtime() as runtime:
            if detach:
                container = _create(call, runtime, bundle)
                if call.command == "run":
                    _start(container)
                return 0
        from ociworks.runtime.cli._run import run

        return run(call, bundle)


def _bundle(path: str) -> Bundle:
    try:
        return Bundle.load(path)
    except FileNotFoundError:
        raise ValueError("JSON specification file config.json not found") from None


def _terminal(bundle: Bundle) -> bool:
    if bundle.spec.process is None:
        raise InvalidSpec([Problem("$.process", "a container to run needs it")])
    return bool(bundle.spec.process.terminal)


def run_options(call: Call) -> RunOptions:
    """What the command line and its environment (``LISTEN_FDS``) say of descriptors and keys."""
    listening = _files.listening()
    preserved = _files.preserved(listening + (call.flags.number("preserve-fds") or 0))
    return RunOptions(
        pass_fds=preserved,
        listen_fds=listening,
        new_keyring=not call.flags.flag("no-new-keyring"),
        no_pivot=call.flags.flag("no-pivot"),
    )


def _create(call: Call, runtime: Runtime, bundle: Bundle) -> Container:
    """Make a detached container and tell who waits for its terminal and its pid; on failure nothing is left."""
    container = runtime.create(call.container_id, bundle, detach=True, options=run_options(call))
    try:
        if container.console is not None:
            _tty.send_console(call.flags.text("console-socket"), container.console)
            container.console.close()
        if call.flags.given("pid-file"):
            _files.write_pid(call.flags.text("pid-file"), container.pid)
    except BaseException:
        container.delete(force=True)
        raise
    return container


def _start(container: Container) -> None:
    try:
        container.start()
    except BaseException:
        container.delete(force=True)
        raise
