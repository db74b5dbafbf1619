"""``ociworks registry serve``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from ociworks.cli._arguments import checked
from ociworks.cli._text import one_line
from ociworks.cli._units import address
from ociworks.cli._waiting import until_told
from ociworks.errors import NotSupported

if TYPE_CHECKING:
    import ssl
    from argparse import ArgumentParser, Namespace

    from ociworks.testing.registry import RegistryOptions, ServedRequest

__all__ = ["arguments", "main"]

_GRACE: Final = 5.0
_SHOWN: Final = 300


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``registry``."""
    command.description = "A registry of the OCI distribution specification."
    commands = command.add_subparsers(dest="subcommand", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve until interrupted", allow_abbrev=False)
    serve.description = (
        "Serve images until SIGINT or SIGTERM. Prints the address once it listens; "
        "requests are logged on standard error."
    )
    serve.add_argument("--dir", metavar="DIR", help="where everything is kept; default: in memory")
    serve.add_argument(
        "--listen",
        metavar="HOST:PORT",
        type=checked(address),
        default=("127.0.0.1", 5000),
        help="default: 127.0.0.1:5000; port 0: a free one",
    )
    serve.add_argument("--tls-cert", metavar="FILE", help="certificate chain, PEM; needs --tls-key")
    serve.add_argument("--tls-key", metavar="FILE", help="private key, PEM")
    serve.add_argument("--htpasswd", metavar="FILE", help="users, with bcrypt hashes (htpasswd -B)")
    serve.add_argument("--anonymous-pull", action="store_true", help="with --htpasswd: anyone may pull")
    serve.add_argument("--read-only", action="store_true", help="refuse every change")
    serve.add_argument("--no-delete", action="store_true", help="refuse to delete")
    serve.add_argument("-q", "--quiet", action="store_true", help="do not log requests")


def main(arguments: Namespace) -> int:
    """Serve until SIGINT or SIGTERM; requests under way then get a few seconds to end."""
    from ociworks.testing.registry import Registry

    registry = Registry(_options(arguments))
    try:
        with until_told() as wait:
            where = "" if arguments.dir else ", in memory"
            print(f"serving on {registry.url}{where}", flush=True)
            wait()
    finally:
        registry.close(_GRACE)
    return 0


def _options(arguments: Namespace) -> RegistryOptions:
    from ociworks.testing.registry import RegistryOptions

    return RegistryOptions(
        directory=arguments.dir,
        listen=arguments.listen,
        tls=_tls(arguments.tls_cert, arguments.tls_key),
        auth="none" if arguments.htpasswd is None else "basic",
        htpasswd=arguments.htpasswd,
        anonymous_pull=arguments.anonymous_pull,
        read_only=arguments.read_only,
        delete=not arguments.no_delete,
        remember=0,
        log=None if arguments.quiet else _log,
    )


def _tls(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise NotSupported("--tls-cert and --tls-key go together")
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


def _log(request: ServedRequest) -> None:
    """One line for each request; nothing in it can act on a terminal."""
    path = one_line(request.path, _SHOWN)
    print(
        f"{request.client} {one_line(request.method, 20)} {path} {request.status} "
        f"in={request.received} out={request.sent} {request.seconds:.3f}s",
        file=sys.stderr,
    )
