"""``ociworks verify``: an image against its own digests, and its signatures against keys or a policy."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from ociworks.cli._arguments import checked, json_option
from ociworks.cli._config import pair
from ociworks.cli._places import client_of, place, place_options, policy_of, policy_option, source_image
from ociworks.cli._text import printable_lines
from ociworks.errors import NotSupported, quote

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ociworks.image import Reference
    from ociworks.image.sign import Decision, Policy, Verification

__all__ = ["arguments", "main"]

_FAILED = 6


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``verify``."""
    command.description = (
        "Verify an image. Without keys: every digest, size and diff ID, and what the specifications demand. "
        "With --key or --policy: who signed it in its registry. Status 6 when it does not hold."
    )
    place_options(command)
    json_option(command)
    signatures = command.add_argument_group("signatures")
    signatures.add_argument(
        "-k", "--key", metavar="FILE", action="append", default=[], help="a public key, PEM"
    )
    signatures.add_argument("--all-keys", action="store_true", help="all keys must have signed, not any")
    signatures.add_argument(
        "-a",
        "--annotation",
        metavar="KEY=VALUE",
        type=checked(pair),
        action="append",
        default=[],
        help="what must have been signed too",
    )
    policy_option(signatures, "decide by it")
    place(command, "place", "what to verify: a PLACE")


def main(arguments: Namespace) -> int:
    """Verify, and say who signed or what is wrong."""
    if arguments.key and arguments.policy:
        raise NotSupported("--key and --policy: expected one of them")
    if (policy := policy_of(arguments)) is not None:
        return _by_policy(arguments, policy)
    return _by_keys(arguments) if arguments.key else _content(arguments)


def _content(arguments: Namespace) -> int:
    from ociworks.image import validate
    from ociworks.spec.notebook import count

    with source_image(arguments, arguments.place) as image:
        report = validate.image(image)
        if arguments.json:
            problems = [{"path": each.path, "message": each.message} for each in report.problems]
            print(json.dumps({"digest": str(image.digest), "ok": report.ok, "problems": problems}))
        elif report.ok:
            print(f"{image.digest}: {count(len(image.layers), 'layer')}, every digest holds")
        else:
            print(printable_lines(str(report)), file=sys.stderr)
    return 0 if report.ok else _FAILED


def _by_keys(arguments: Namespace) -> int:
    from ociworks.image import sign

    keys = [sign.PublicKey.from_pem(path) for path in arguments.key]
    options = sign.VerifyOptions(require_all=arguments.all_keys, annotations=dict(arguments.annotation))
    with client_of(arguments) as client:
        found = sign.verify(client, _reference(arguments.place), *keys, options=options)
    return _report(arguments, found)


def _by_policy(arguments: Namespace, policy: Policy) -> int:
    with client_of(arguments) as client:
        found = policy.check(client, _reference(arguments.place))
    return _report(arguments, found)


def _report(arguments: Namespace, found: Verification | Decision) -> int:
    if arguments.json:
        print(
            json.dumps({"accepted": found.accepted, "reference": str(found.reference), "message": str(found)})
        )
    else:
        print(printable_lines(str(found)), file=sys.stdout if found.accepted else sys.stderr)
    return 0 if found.accepted else _FAILED


def _reference(text: str) -> Reference:
    from ociworks.image import Location

    where = Location.parse(text)
    if where.transport != "docker" or where.reference is None:
        raise NotSupported(f"{quote(text)}: signatures are verified in a registry")
    return where.reference
