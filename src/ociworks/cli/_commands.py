"""The table of commands: each is a module beside this one, loaded only when its command is asked for.

A command's module has two functions:

===========================  ====================================================================
``arguments(parser)``        says what may be written after the command's name; parsing only
``main(arguments) -> int``   does it, and gives the exit status
===========================  ====================================================================

and may have ``FAILURE``, the status of our own failures where the statuses of :mod:`ociworks.cli._status` are taken.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["COMMANDS", "Command", "CommandModule", "load"]


class Command(NamedTuple):
    """One line of ``ociworks --help``."""

    name: str
    help: str
    module: str


class CommandModule(Protocol):
    """What the module of a command has."""

    def arguments(self, command: ArgumentParser, /) -> None:
        """Add the command's arguments to its parser."""

    def main(self, arguments: Namespace, /) -> int:
        """Do it; the exit status."""


COMMANDS: Final = (
    Command("pull", "bring an image into the store", "_pull"),
    Command("run", "run a command in a new container", "_run"),
    Command("registry", "serve images to others", "_registry"),
)


def load(name: str) -> CommandModule:
    """The module of the command ``name``, which is in the table."""
    module = next(command.module for command in COMMANDS if command.name == name)
    return cast("CommandModule", importlib.import_module(f"ociworks.cli.{module}"))
