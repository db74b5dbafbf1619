"""The command ``ociworks-runtime``: an OCI runtime as podman, conmon, containerd, CRI-O, buildah and Docker call it.

Every call is a process of its own, so each file here imports at its top only what a process pays little for; what is
heavy (attrs, the specification, plans) is imported by the commands that need it.

- ``_table``: the commands and their flags; ``_flags``: reads them as Go's flag package does; ``_help``: prints them
- ``_early``: starts the helper process before all else; ``_call``: what every command gets: the state root, the
  flags, the log, the runtime
- ``_log``: log lines as logrus writes them, and the errors of a call; ``_words``: the words that clients look for
- ``_create``: ``create`` and ``run``, with ``_make``, the short way of ``create``, and ``_run`` in the foreground;
  ``_start``, ``_delete``, ``_kill``, ``_pause`` (and ``resume``), ``_state`` (and ``list``), ``_ps``, ``_exec``,
  ``_update``, ``_events``, ``_about`` (``features`` and ``spec``), ``_criu`` (``checkpoint`` and ``restore``)
- ``_process``: the process of an ``exec`` from its flags; ``_follow``: waits for a process and passes signals on
- ``_granted``: what is left out with a warning
- ``_notify``: tells whoever started us that a container is ready
- ``_tty``: terminals, the local one and a console socket; ``_sockets``: what is sent to sockets of callers
- ``_files``: files named on the command line; ``_version``: what ``--version`` prints
- ``_debug``: what ``--debug`` logs; ``_example``: the configuration that ``spec`` writes
"""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from ociworks.runtime import Runtime
    from ociworks.runtime.cli import _log

__all__ = ["main", "program"]

_PACKED = frozenset(
    {"create", "delete", "exec", "kill", "list", "pause", "ps", "resume", "start", "state", "update"}
)
"""Commands with a pack of modules of their own."""


def program() -> NoReturn:
    """The entry point of ``ociworks-runtime``: :func:`main`, in a process that does nothing else.

    It lives for milliseconds: it collects no garbage, and ends without taking itself apart.
    """
    gc.disable()
    from ociworks.runtime.cli import _early

    _early.begin(sys.argv)
    from ociworks._packs import use

    pack = use(next((word for word in sys.argv[1:] if word in _PACKED), "other"))
    status = main()
    _early.end()
    sys.stdout.flush()
    sys.stderr.flush()
    if status == 0:
        pack.keep()
    os._exit(status)


def main(runtime: Runtime | None = None, argv: Sequence[str] | None = None) -> int:
    """Run ``ociworks-runtime ARG…`` (None: the arguments of this process) and return the exit status.

    ``runtime`` is the one to use, such as an instance of a class of your own: ``main(GpuRuntime())`` is the entry point
    of an OCI runtime binary. Its state root is ``--root``, or its own when that is not given.
    """
    from ociworks.runtime.cli import _flags, _log

    log = _log.Log()
    try:
        return _main(runtime, sys.argv[1:] if argv is None else list(argv), log)
    except _flags.Help as asked:
        from ociworks.runtime.cli import _help

        return _help.show(asked.command)
    except _flags.UsageError as error:
        from ociworks.runtime.cli import _help

        _help.incorrect(error)
        return log.fatal(error.text, 1)
    except BrokenPipeError:
        return 1
    except Exception as error:  # noqa: BLE001 - the boundary of a process: clients read one line and a status
        from ociworks.runtime.cli import _words

        return log.fatal(_words.of(error), 1)


def _main(runtime: Runtime | None, argv: list[str], log: _log.Log) -> int:
    from ociworks.runtime.cli import _call, _flags, _table

    options, rest = _flags.parse("", _table.GLOBALS, argv)
    if options.flag("version") or rest[:1] == ["--version"]:
        from ociworks.runtime.cli import _version

        return _version.show()
    log.configure(options)
    if not rest or rest[0] in ("help", "h"):
        raise _flags.Help(rest[1] if len(rest) > 1 else "")
    name, *arguments = rest
    command = _table.COMMANDS.get(name)
    if command is None:
        return log.fatal(f"No help topic for {name!a}", 3)
    flags, positional = _flags.parse(name, command.flags, arguments, reorder=command.reorder)
    command.check(name, positional)
    call = _call.Call(name, options, flags, positional, log, runtime)
    return _call.run(command.module, call, helper=command.helper)
