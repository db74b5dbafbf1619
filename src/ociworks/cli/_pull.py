"""``ociworks pull``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ociworks.cli._arguments import json_option, platform_option, registry_options, store_option
from ociworks.cli._places import client_of, policy_of, policy_option
from ociworks.cli._progress import progress

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ociworks.image import Image, Reference
    from ociworks.image.sign import Policy

__all__ = ["arguments", "fetched", "main"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``pull``."""
    command.description = "Pull an image, verified, into the store; print its name by digest."
    platform_option(command)
    store_option(command)
    registry_options(command)
    policy_option(command)
    json_option(command)
    command.add_argument("ref", metavar="REF", help="such as docker.io/library/busybox:1.36")


def main(arguments: Namespace) -> int:
    """Pull one image into the store and print which it is."""
    from ociworks.image import Reference

    reference = Reference.parse(arguments.ref)
    image = fetched(arguments, policy_of(arguments))
    print(_as_json(reference, image) if arguments.json else f"{reference.name}@{image.digest}")
    return 0


def fetched(arguments: Namespace, policy: Policy | None = None) -> Image:
    """Pull ``arguments.ref`` as the options say, with progress."""
    from ociworks import api

    with progress(quiet=arguments.quiet) as show, client_of(arguments) as client:
        return api.pull(
            arguments.ref,
            platform=arguments.platform,
            store=arguments.store,
            progress=show,
            client=client,
            policy=policy,
        )


def _as_json(reference: Reference, image: Image) -> str:
    """One line, ASCII: names in it are a stable format for programs."""
    return json.dumps(
        {
            "reference": str(reference),
            "digest": str(image.digest),
            "mediaType": image.descriptor.media_type,
            "platform": str(image.config.platform),
            "layers": [{"digest": str(layer.digest), "size": layer.size} for layer in image.layers],
        }
    )
