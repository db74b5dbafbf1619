"""The parser of ``ociworks``, and options that several commands have. Parsing only: nothing here starts anything."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from ociworks import __version__
from ociworks.cli._commands import COMMANDS, load
from ociworks.cli._text import one_line
from ociworks.errors import SpecError

__all__ = ["checked", "json_option", "parser", "platform_option", "registry_options", "store_option"]

T = TypeVar("T")


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaints are one escaped line and exit status 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {one_line(message)} (see {self.prog} --help)\n")


def parser(argv: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The parser of ``ociworks``; ``command`` in its result names the subcommand.

    Only the command that ``argv`` names gets its arguments, so only its module is loaded; without ``argv`` all do.
    """
    top = _Parser(
        prog="ociworks", description="Containers: from a registry to a running process.", allow_abbrev=False
    )
    top.add_argument("--version", action="version", version=f"ociworks {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for name, help_line, _ in COMMANDS:
        command = commands.add_parser(name, help=help_line, allow_abbrev=False)
        if argv is None or name in argv:
            load(name).arguments(command)
    return top


def platform_option(command: argparse._ActionsContainer) -> None:
    """``--platform``."""
    command.add_argument(
        "--platform", metavar="OS/ARCH", help="such as linux/arm64/v8; default: this machine's"
    )


def store_option(command: argparse.ArgumentParser) -> None:
    """``--store``."""
    command.add_argument(
        "--store", metavar="DIR", help="the image store; default: $OCIWORKS_STORE or the user's own"
    )


def registry_options(command: argparse.ArgumentParser) -> None:
    """What every command that talks to a registry has: ``--insecure`` and ``--quiet``."""
    command.add_argument(
        "--insecure",
        metavar="HOST:PORT",
        action="append",
        default=[],
        help="a registry to talk to without TLS",
    )
    command.add_argument("-q", "--quiet", action="store_true", help="no progress")


def json_option(command: argparse._ActionsContainer) -> None:
    """``--json``."""
    command.add_argument("--json", action="store_true", help="print JSON, for programs")


def checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """The reader of one option, its typed error turned into argparse's."""

    def read(text: str) -> T:
        try:
            return parse(text)
        except SpecError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read
