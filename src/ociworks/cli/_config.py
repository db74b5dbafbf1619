"""``ociworks config``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ociworks.cli import _units
from ociworks.cli._arguments import checked
from ociworks.cli._making import changed, making_options
from ociworks.errors import SpecError, quote

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Mapping

    from ociworks.image.mutate import Changes

__all__ = ["arguments", "main", "named", "pair"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``config``."""
    command.description = (
        "Change how an image wants to be run. Commands are a JSON array of strings, or one word. "
        "An empty value removes a field. Prints the new digest."
    )
    fields = command.add_argument_group("fields")
    fields.add_argument(
        "--entrypoint", metavar="JSON", type=checked(_words), help="drops the old command, as Docker does"
    )
    fields.add_argument("--cmd", metavar="JSON", type=checked(_words))
    fields.add_argument(
        "-e", "--env", metavar="NAME=VALUE", type=checked(_units.environment), action="append", default=[]
    )
    fields.add_argument("--unset-env", metavar="NAME", action="append", default=[])
    fields.add_argument("-l", "--label", metavar="KEY=VALUE", type=checked(pair), action="append", default=[])
    fields.add_argument("--unset-label", metavar="KEY", action="append", default=[])
    fields.add_argument("-u", "--user", metavar="USER[:GROUP]")
    fields.add_argument("-w", "--workdir", metavar="DIR")
    fields.add_argument("--port", metavar="PORT[/PROTOCOL]", action="append", help="all that are exposed")
    fields.add_argument("--volume", metavar="DIR", action="append", help="all that there are")
    fields.add_argument("--stop-signal", metavar="SIGNAL")
    fields.add_argument("--author", metavar="TEXT")
    fields.add_argument("--created", metavar="TIME", help="RFC 3339")
    making_options(command)


def main(arguments: Namespace) -> int:
    """Change the configuration."""
    from ociworks.image import mutate

    return changed(arguments, lambda image: mutate.config(image, _changes(arguments)))


def _changes(arguments: Namespace) -> Changes:
    from ociworks.image.mutate import Changes

    return Changes(
        entrypoint=arguments.entrypoint,
        cmd=arguments.cmd,
        env=named(arguments.env, arguments.unset_env),
        labels=named(arguments.label, arguments.unset_label),
        user=arguments.user,
        working_dir=arguments.workdir,
        exposed_ports=_all(arguments.port),
        volumes=_all(arguments.volume),
        stop_signal=arguments.stop_signal,
        author=arguments.author,
        created=arguments.created,
    )


def named(given: Iterable[tuple[str, str]], gone: Iterable[str]) -> Mapping[str, str | None]:
    return {**dict.fromkeys(gone), **dict(given)}


def _all(given: list[str] | None) -> tuple[str, ...] | None:
    """Every value that was given; a single empty one stands for none."""
    return None if given is None else tuple(value for value in given if value)


def _words(text: str) -> tuple[str, ...]:
    if not text.startswith("["):
        return (text,) if text else ()
    try:
        words = json.loads(text)
    except ValueError as error:
        raise SpecError(f"expected a JSON array of strings, got {quote(text)}: {error}") from None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise SpecError(f"expected a JSON array of strings, got {quote(text)}")
    return tuple(words)


def pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise SpecError(f"expected KEY=VALUE, got {quote(text)}")
    return key, value
