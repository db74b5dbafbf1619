"""``ociworks run``."""

from __future__ import annotations

import argparse
import errno
import subprocess
import sys
from typing import TYPE_CHECKING

from ociworks.cli import _units
from ociworks.cli._arguments import checked, platform_option, registry_options, store_option
from ociworks.cli._text import one_line
from ociworks.errors import CommandNotFound, ContainerTimeout

if TYPE_CHECKING:
    from argparse import Namespace

    from ociworks.api import RunOptions
    from ociworks.image import Image

__all__ = ["FAILURE", "arguments", "exit_status", "main"]

FAILURE = 125
"""Our own failure; lower statuses are the container's."""

OUT_OF_TIME = 124
NOT_EXECUTABLE = 126
NOT_FOUND = 127


def arguments(command: argparse.ArgumentParser) -> None:
    """What may be written after ``run``."""
    command.description = (
        "Run a command in a new container and remove the container afterwards. The exit status is the command's; "
        "124: out of time, 125: ociworks failed, 126: the command cannot be executed, 127: it was not found."
    )
    platform_option(command)
    store_option(command)
    registry_options(command)
    _limits(command.add_argument_group("limits"))
    _process(command.add_argument_group("the process"))
    command.add_argument("ref", metavar="REF", help="pulled first unless the store has it")
    command.add_argument(
        "args", metavar="ARG", nargs=argparse.REMAINDER, help="the command; default: the image's"
    )


def _limits(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-m", "--memory", metavar="SIZE", type=checked(_units.size), help="such as 64m")
    group.add_argument(
        "--pids-limit", metavar="N", type=checked(_units.whole_number), help="processes and threads"
    )
    group.add_argument("--cpus", metavar="N", type=checked(_units.cpus), help="processors, such as 1.5")
    group.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=checked(_units.seconds),
        help="kill the container after this time",
    )


def _process(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-e", "--env", metavar="KEY=VALUE", type=checked(_units.environment), action="append", default=[]
    )
    group.add_argument("-w", "--workdir", metavar="DIR", help="the directory to start in")
    group.add_argument(
        "-u", "--user", metavar="USER[:GROUP]", help="names or numbers; digits are always a number"
    )
    group.add_argument("--hostname", metavar="NAME")
    group.add_argument("--read-only", action="store_true", help="the root filesystem cannot be written")
    group.add_argument("-i", "--interactive", action="store_true", help="pass standard input to the command")
    group.add_argument("-t", "--tty", action="store_true", help="give the command a terminal")
    group.add_argument(
        "--rm", action="store_true", help="accepted for habit's sake: containers are always removed"
    )


def main(arguments: Namespace) -> int:
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
