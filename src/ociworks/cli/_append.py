"""``ociworks append``."""

from __future__ import annotations

from argparse import Action
from typing import TYPE_CHECKING, Literal, cast

from ociworks.cli._arguments import checked
from ociworks.cli._making import changed, making_options
from ociworks.errors import SpecError, quote
from ociworks.spec.numbers import parse_uint

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ociworks.image import Layer

__all__ = ["arguments", "main"]

_LAST_ID = 2**32 - 2


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``append``."""
    command.description = (
        "Put layers on top of an image: directories and archives, in the order in which they are named. "
        "Equal directories make equal layers. Prints the new digest."
    )
    layers = command.add_argument_group("layers")
    layers.add_argument(
        "--dir",
        metavar="DIR[:PATH]",
        dest="layers",
        action=_Layer,
        help="the files below DIR, at PATH in the image (default: /)",
    )
    layers.add_argument(
        "--tar",
        metavar="FILE",
        dest="layers",
        action=_Layer,
        help="an archive, plain, gzip or zstd, as it is",
    )
    layers.add_argument(
        "--owner",
        metavar="UID:GID",
        type=checked(_owner),
        default=(0, 0),
        help="whose the files of --dir are (default: 0:0); 'keep': as they are",
    )
    layers.add_argument("--compression", choices=["gzip", "zstd", "none"], default="gzip", help="for --dir")
    making_options(command)


def main(arguments: Namespace) -> int:
    """Append; without layers it is a copy."""
    from ociworks.image import mutate

    return changed(arguments, lambda image: mutate.append(image, *_layers(arguments)))


class _Layer(Action):
    """Keeps directories and archives in one list, because their order matters."""

    def __call__(
        self,
        parser: ArgumentParser,  # noqa: ARG002 - argparse calls it like this
        namespace: Namespace,
        values: object,
        option: str | None = None,
    ) -> None:
        """Add one."""
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or ()), (option, values)])


def _owner(text: str) -> tuple[int, int] | None:
    if text == "keep":
        return None
    uid, colon, gid = text.partition(":")
    if not colon:
        raise SpecError(f"expected UID:GID or 'keep', got {quote(text)}")
    return parse_uint(uid, _LAST_ID, "uid"), parse_uint(gid, _LAST_ID, "gid")


def _layers(arguments: Namespace) -> list[Layer]:
    return [_layer(kind, value, arguments) for kind, value in arguments.layers or ()]


def _layer(kind: str, value: str, arguments: Namespace) -> Layer:
    from ociworks.image import Layer

    if kind == "--tar":
        return Layer.from_tar(value)
    directory, _, at = value.partition(":")
    return Layer.from_directory(
        directory,
        at=at or "/",
        owner=arguments.owner,
        compression=cast("Literal['gzip', 'zstd', 'none']", arguments.compression),
    )
