"""``ociworks completion``: a script for the shell, made from the parser itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ociworks.errors import MissingDependency

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["arguments", "main"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``completion``."""
    command.description = (
        "Print what makes a shell complete this command. For bash, in ~/.bashrc: "
        'eval "$(ociworks completion bash)"; for zsh, to a file _ociworks in a directory of $fpath.'
    )
    command.add_argument("shell", choices=["bash", "zsh", "tcsh"])


def main(arguments: Namespace) -> int:
    """Print the script."""
    try:
        import shtab
    except ImportError:
        raise MissingDependency(
            "completion needs shtab: install ociworks with its extra, ociworks[cli]"
        ) from None
    from ociworks.cli._arguments import parser

    print(shtab.complete(parser(), shell=arguments.shell))
    return 0
