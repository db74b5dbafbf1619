"""The command ``ociworks``: images and containers for people.

- ``_commands``: the table of commands; ``_arguments``: their parser, and the options that several have
- ``_units``: sizes, processors, durations, variables
- ``_pull``, ``_push``, ``_copy``, ``_run``, ``_delete``, ``_gc``: one command each; they translate and call
  ``ociworks.api`` and ``ociworks.image``
- ``_inspect``, ``_digest``, ``_ls``, ``_cat``, ``_export``, ``_tags``, ``_referrers``: questions
- ``_diff``, ``_verify``: more questions; ``_sign``: signatures
- ``_append``, ``_config``, ``_annotate``, ``_rebase``, ``_flatten``, ``_squash``: an image or index of another one
  (``_making``); ``_unpack``, ``_repack``: to a directory, and back
- ``_login``, ``_logout``: credentials
- ``_registry``: ``registry serve``, the server of ``ociworks.testing``; ``_completion``: for shells
- ``_cri``: ``cri serve``, pods for a kubelet; ``_waiting``: until a signal
- ``_places``: images by their places, and the options that go with them
- ``_status``: the exit status of each kind of failure
- ``_terminal``: this terminal and the container's, tied together
- ``_progress``: bars and lines while something takes time
- ``_text``: makes text of unknown origin fit for a terminal
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``ociworks ARG…`` (None: the arguments of this process) and return the exit status.

    Usage errors end with status 2, as argparse does it. Our own failures are one line on standard error and a status
    of :mod:`ociworks.cli._status`, or 125 for ``run``, where lower ones are the container's.
    """
    from ociworks.cli._arguments import parser
    from ociworks.cli._commands import load

    given = sys.argv[1:] if argv is None else list(argv)
    arguments = parser(given).parse_args(given)
    command = load(arguments.command)
    return _guarded(lambda: command.main(arguments), getattr(command, "FAILURE", None))


def _guarded(command: Callable[[], int], failure: int | None) -> int:
    from ociworks.cli._text import one_line
    from ociworks.errors import OciworksError

    try:
        status = command()
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        return _closed()
    except (OciworksError, OSError) as error:
        from ociworks.cli._status import status_of

        print(f"ociworks: {one_line(str(error))}", file=sys.stderr)
        return status_of(error) if failure is None else failure
    except KeyboardInterrupt:
        return 130


def _closed() -> int:
    """Whoever read our output has had enough, as ``head`` has; what is still buffered goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE
