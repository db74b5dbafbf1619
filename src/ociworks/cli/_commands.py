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
    Command("push", "bring an image of the store to a registry", "_push"),
    Command("copy", "copy an image from any place to any other", "_copy"),
    Command("run", "run a command in a new container", "_run"),
    Command("inspect", "show what an image is", "_inspect"),
    Command("digest", "print the digest of an image", "_digest"),
    Command("ls", "list files of an image", "_ls"),
    Command("cat", "write files of an image", "_cat"),
    Command("export", "write the file system of an image as an archive", "_export"),
    Command("diff", "show what is different between two images", "_diff"),
    Command("append", "put layers on top of an image", "_append"),
    Command("config", "change how an image wants to be run", "_config"),
    Command("annotate", "change the annotations of an image", "_annotate"),
    Command("rebase", "put an image on another base", "_rebase"),
    Command("flatten", "make one layer of an image", "_flatten"),
    Command("squash", "make one layer of the last layers of an image", "_squash"),
    Command("unpack", "unpack an image to a bundle", "_unpack"),
    Command("repack", "make a layer of what was changed in a bundle", "_repack"),
    Command("verify", "verify an image and who signed it", "_verify"),
    Command("sign", "sign an image", "_sign"),
    Command("tags", "list the tags of a repository", "_tags"),
    Command("referrers", "list what refers to an image", "_referrers"),
    Command("delete", "delete an image", "_delete"),
    Command("login", "log in to a registry", "_login"),
    Command("logout", "log out of a registry", "_logout"),
    Command("gc", "remove what no image in the store needs", "_gc"),
    Command("registry", "serve images to others", "_registry"),
    Command("cri", "run pods for a kubelet", "_cri"),
    Command("completion", "print completion for a shell", "_completion"),
)


def load(name: str) -> CommandModule:
    """The module of the command ``name``, which is in the table."""
    module = next(command.module for command in COMMANDS if command.name == name)
    return cast("CommandModule", importlib.import_module(f"ociworks.cli.{module}"))
