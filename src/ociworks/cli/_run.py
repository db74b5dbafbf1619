"""``ociworks run``."""

from __future__ import annotations

import errno
import subprocess
import sys
from typing import TYPE_CHECKING

from ociworks.cli._text import one_line
from ociworks.errors import CommandNotFound, ContainerTimeout

if TYPE_CHECKING:
    from argparse import Namespace

    from ociworks.api import RunOptions
    from ociworks.image import Image

__all__ = ["exit_status", "run"]

OUT_OF_TIME = 124
NOT_EXECUTABLE = 126
NOT_FOUND = 127


def run(arguments: Namespace) -> int:
    """Run a command in a new container; its exit status, 128 and the signal when one killed it."""
    from ociworks.api import RunOptions

    options = RunOptions(
        memory=arguments.memory,
        pids=arguments.pids_limit,
        cpus=arguments.cpus,
        env=dict(arguments.env),
        workdir=arguments.workdir,
        user=arguments.user,
        hostname=arguments.hostname,
        read_only=arguments.read_only,
        terminal=arguments.tty,
    )
    image = _image(arguments)
    try:
        status = _run(image, arguments, options)
    except ContainerTimeout as error:
        return _failed(error, OUT_OF_TIME)
    except CommandNotFound as error:
        return _failed(error, NOT_FOUND if error.errno == errno.ENOENT else NOT_EXECUTABLE)
    return exit_status(status)


def exit_status(returncode: int) -> int:
    """What a shell would report: the status, or 128 and the number of the signal."""
    return returncode if returncode >= 0 else 128 - returncode


def _image(arguments: Namespace) -> Image:
    from ociworks import api
    from ociworks.cli._pull import fetched

    found = api.stored(arguments.ref, platform=arguments.platform, store=arguments.store)
    return found or fetched(arguments)


def _run(image: Image, arguments: Namespace, options: RunOptions) -> int:
    from ociworks import api

    with api.prepare(image, arguments.args or None, options) as (runtime, bundle):
        if arguments.tty:
            from ociworks.cli._terminal import run_on_terminal

            return run_on_terminal(
                runtime, bundle, interactive=arguments.interactive, timeout=arguments.timeout
            )
        stdin = None if arguments.interactive else subprocess.DEVNULL
        return runtime.run(bundle, stdin=stdin, timeout=arguments.timeout).returncode


def _failed(error: Exception, status: int) -> int:
    print(f"ociworks: {one_line(str(error))}", file=sys.stderr)
    return status
