"""``ociworks sign``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from ociworks.cli._arguments import checked, registry_options
from ociworks.cli._config import pair
from ociworks.cli._places import client_of

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ociworks.image.sign import PrivateKey

__all__ = ["arguments", "main"]

_PASSWORD: Final = "COSIGN_PASSWORD"  # noqa: S105 - the name of a variable


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``sign``."""
    command.description = (
        "Sign the image or index that a reference names now, and put the signature beside it in its registry. "
        f"The password of the key is asked for, or stands in ${_PASSWORD}. Prints the digest that was signed."
    )
    registry_options(command)
    command.add_argument("-k", "--key", metavar="FILE", required=True, help="a private key, PEM")
    command.add_argument(
        "--form",
        choices=["cosign", "bundle"],
        default="cosign",
        help="cosign's tag, which every verifier knows, or a sigstore bundle among the referrers",
    )
    command.add_argument(
        "-a",
        "--annotation",
        metavar="KEY=VALUE",
        type=checked(pair),
        action="append",
        default=[],
        help="sign this too",
    )
    command.add_argument("reference", metavar="REF")


def main(arguments: Namespace) -> int:
    """Sign, and print what was signed."""
    from ociworks.image import sign

    options = sign.SignOptions(form=arguments.form, annotations=dict(arguments.annotation))
    key = _key(arguments.key)
    with client_of(arguments) as client:
        print(sign.sign(client, arguments.reference, key, options=options))
    return 0


def _key(path: str) -> PrivateKey:
    """The key, without a password where it needs none."""
    from ociworks.image.sign import PrivateKey

    password = os.environ.get(_PASSWORD)
    if password is None and _encrypted(path):
        password = _ask()
    return PrivateKey.from_pem(path, password=password)


def _encrypted(path: str) -> bool:
    with open(path, "rb") as file:
        return b"ENCRYPTED" in file.read(64 * 1024)


def _ask() -> str | None:
    if not sys.stdin.isatty():
        return None
    from getpass import getpass

    return getpass("Password of the key: ", sys.stderr)
