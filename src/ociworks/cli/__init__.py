"""The command ``ociworks``: images and containers for people.

- ``_arguments``: what may be written on the command line
- ``_units``: sizes, processors, durations, variables
- ``_pull``, ``_run``: one command each; they translate and call ``ociworks.api``
- ``_terminal``: this terminal and the container's, tied together
- ``_progress``: bars and lines while something takes time
- ``_text``: makes text of unknown origin fit for a terminal
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``ociworks ARG…`` (None: the arguments of this process) and return the exit status.

    Usage errors end with status 2, as argparse does it. Our own failures are one line on standard error and
    status 1, or 125 for ``run``, where lower ones are the container's.
    """
    from ociworks.cli._arguments import parser

    arguments = parser().parse_args(argv)
    if arguments.command == "pull":
        from ociworks.cli._pull import pull as command
    else:
        from ociworks.cli._run import run as command
    return _guarded(lambda: command(arguments), failure=1 if arguments.command == "pull" else 125)


def _guarded(command: Callable[[], int], failure: int) -> int:
    from ociworks.cli._text import one_line
    from ociworks.errors import OciworksError

    try:
        return command()
    except (OciworksError, OSError) as error:
        print(f"ociworks: {one_line(str(error))}", file=sys.stderr)
        return failure
    except KeyboardInterrupt:
        return 130
