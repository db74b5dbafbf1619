"""Help, and what is printed beside an error of usage."""

from __future__ import annotations

import sys

from ociworks.runtime.cli._flags import UsageError
from ociworks.runtime.cli._table import COMMANDS, GLOBALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.runtime.cli._flags import Flags

__all__ = ["incorrect", "show"]

_PROGRAM = "ociworks-runtime"


def show(command: str) -> int:
    """Print the help of a command, or of all; the exit status."""
    sys.stdout.write(_text(command))
    return 0


def incorrect(error: UsageError) -> None:
    """Print what was wrong, and the help."""
    sys.stdout.write(
        f"{error.title or f'Incorrect Usage: {ascii(error.text)[1:-1]}'}\n\n{_text(error.command)}\n"
    )


def _text(command: str) -> str:
    known = COMMANDS.get(command)
    if known is None:
        return _all()
    flags = " [command options]" if known.flags else ""
    return (
        f"NAME:\n   {_PROGRAM} {command} - {known.about}\n\n"
        f"USAGE:\n   {_PROGRAM} {command}{flags} {known.usage}\n{_options('OPTIONS', known.flags)}"
    )


def _all() -> str:
    width = max(map(len, COMMANDS))
    commands = "".join(f"   {name:{width}}  {command.about}\n" for name, command in COMMANDS.items())
    return (
        f"NAME:\n   {_PROGRAM} - runs containers as the OCI runtime specification says\n\n"
        f"USAGE:\n   {_PROGRAM} [global options] command [command options] [arguments...]\n\n"
        f"COMMANDS:\n{commands}{_options('GLOBAL OPTIONS', GLOBALS)}"
    )


def _options(title: str, flags: Flags) -> str:
    if not flags:
        return ""
    names = {
        name: f"--{name}" + (" value" if kind != "bool" else "") + (f", -{short}" if short else "")
        for name, (kind, short, _) in flags.items()
    }
    width = max(map(len, names.values()))
    lines = "".join(f"   {names[name]:{width}}  {about}\n" for name, (_, _, about) in flags.items())
    return f"\n{title}:\n{lines}"
