"""What may be written on the command line. Parsing only: nothing here starts anything."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NoReturn, TypeVar

from ociworks import __version__
from ociworks.cli import _units
from ociworks.cli._text import one_line
from ociworks.errors import SpecError

__all__ = ["parser"]

T = TypeVar("T")


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaints are one escaped line and exit status 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {one_line(message)} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """The parser of ``ociworks``; ``command`` in its result names the subcommand."""
    top = _Parser(
        prog="ociworks", description="Containers: from a registry to a running process.", allow_abbrev=False
    )
    top.add_argument("--version", action="version", version=f"ociworks {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    _pull(commands.add_parser("pull", help="bring an image into the store", allow_abbrev=False))
    _run(commands.add_parser("run", help="run a command in a new container", allow_abbrev=False))
    return top


def _pull(command: argparse.ArgumentParser) -> None:
    command.description = "Pull an image, verified, into the store; print its name by digest."
    _image_options(command)
    command.add_argument("--json", action="store_true", help="print one JSON object instead of the name")
    command.add_argument("ref", metavar="REF", help="such as docker.io/library/busybox:1.36")


def _run(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Run a command in a new container and remove the container afterwards. The exit status is the command's; "
        "124: out of time, 125: ociworks failed, 126: the command cannot be executed, 127: it was not found."
    )
    _image_options(command)
    _limits(command.add_argument_group("limits"))
    _process(command.add_argument_group("the process"))
    command.add_argument("ref", metavar="REF", help="pulled first unless the store has it")
    command.add_argument(
        "args", metavar="ARG", nargs=argparse.REMAINDER, help="the command; default: the image's"
    )


def _image_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--platform", metavar="OS/ARCH", help="such as linux/arm64/v8; default: this machine's"
    )
    command.add_argument(
        "--store", metavar="DIR", help="the image store; default: $OCIWORKS_STORE or the user's own"
    )
    command.add_argument(
        "--insecure",
        metavar="HOST:PORT",
        action="append",
        default=[],
        help="a registry to talk to without TLS",
    )
    command.add_argument("-q", "--quiet", action="store_true", help="no progress")


def _limits(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-m", "--memory", metavar="SIZE", type=_checked(_units.size), help="such as 64m")
    group.add_argument(
        "--pids-limit", metavar="N", type=_checked(_units.whole_number), help="processes and threads"
    )
    group.add_argument("--cpus", metavar="N", type=_checked(_units.cpus), help="processors, such as 1.5")
    group.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_checked(_units.seconds),
        help="kill the container after this time",
    )


def _process(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-e", "--env", metavar="KEY=VALUE", type=_checked(_units.environment), action="append", default=[]
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


def _checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """The reader of one option, its typed error turned into argparse's."""

    def read(text: str) -> T:
        try:
            return parse(text)
        except SpecError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read
