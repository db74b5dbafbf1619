"""``ociworks cri serve``."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final

from ociworks.cli._waiting import until_told

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

__all__ = ["arguments", "main"]

_SOCKET: Final = "/run/ociworks/cri.sock"


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``cri``."""
    command.description = "The Container Runtime Interface of Kubernetes."
    commands = command.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve until interrupted", allow_abbrev=False)
    serve.description = (
        "Run pods for a kubelet until SIGINT or SIGTERM; pods go on afterwards. "
        "Prints the socket when it listens there."
    )
    serve.add_argument("--config", metavar="FILE", help="settings, TOML; default: those of CriConfig")
    serve.add_argument("--socket", metavar="PATH", default=_SOCKET, help=f"default: {_SOCKET}")
    serve.add_argument("--debug", action="store_true", help="log every change on standard error")


def main(arguments: Namespace) -> int:
    """Serve until SIGINT or SIGTERM. Containers do not notice the end."""
    from ociworks.cri import CriConfig, CriService
    from ociworks.cri._rpcserver import notify, serving
    from ociworks.cri.config import load

    level = logging.DEBUG if arguments.debug else logging.INFO
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("ociworks").setLevel(level)
    config = load(arguments.config) if arguments.config else CriConfig()
    with until_told() as wait, CriService(config) as service, serving(service, arguments.socket):
        print(f"serving on {arguments.socket}", flush=True)
        notify("READY=1")
        wait()
        notify("STOPPING=1")
    return 0
