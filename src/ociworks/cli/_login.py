"""``ociworks login``: the password never stands on the command line, where every process could read it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from ociworks.cli._arguments import registry_options
from ociworks.cli._places import client_of
from ociworks.cli._text import printable
from ociworks.errors import NotSupported

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["arguments", "main"]

_MAX_PASSWORD: Final = 64 * 1024


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``login``."""
    command.description = (
        "Log in to a registry. It must accept the password, which is then kept where Docker and Podman find it. "
        "The password is asked for on the terminal, or read from standard input."
    )
    registry_options(command)
    command.add_argument("-u", "--username", metavar="NAME", help="asked for when it is missing")
    command.add_argument(
        "--password-stdin", action="store_true", help="read the password from standard input"
    )
    command.add_argument(
        "--authfile", metavar="FILE", help="where to keep it; default: as Docker and Podman do"
    )
    command.add_argument("registry", metavar="REGISTRY", help="host[:port], or that with a path")


def main(arguments: Namespace) -> int:
    """Log in, and say where the password is kept."""
    from ociworks.image.auth import login

    username = arguments.username or _ask("Username: ")
    password = _from_stdin() if arguments.password_stdin else _ask_secretly()
    with client_of(arguments) as client:
        kept = login(arguments.registry, username, password, file=arguments.authfile, client=client)
    print(f"logged in to {printable(arguments.registry)}; kept in {printable(kept)}")
    return 0


def _ask(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise NotSupported("there is no terminal to ask on: use --username and --password-stdin")
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return sys.stdin.readline().rstrip("\n")


def _ask_secretly() -> str:
    from getpass import getpass

    if not sys.stdin.isatty():
        raise NotSupported("there is no terminal to ask on: use --password-stdin")
    return getpass("Password: ", sys.stderr)


def _from_stdin() -> str:
    """All of standard input, without the line's end that ``echo`` leaves."""
    return sys.stdin.buffer.read(_MAX_PASSWORD).decode().removesuffix("\n").removesuffix("\r")
