"""``ociworks inspect``: what an image is, for people, as JSON, or its exact documents."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ociworks.cli._arguments import json_option
from ociworks.cli._places import place, place_options, source_document, source_image
from ociworks.cli._text import printable

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ociworks.image import Image, ImageIndex

__all__ = ["arguments", "main"]


def arguments(command: ArgumentParser) -> None:
    """What may be written after ``inspect``."""
    command.description = (
        "Show what an image is: its platform, layers and configuration. Only documents are read."
    )
    place_options(command)
    shape = command.add_mutually_exclusive_group()
    json_option(shape)
    shape.add_argument(
        "--raw",
        action="store_true",
        help="write the exact bytes of the manifest, or of the index at the place",
    )
    shape.add_argument("--config", action="store_true", help="write the exact bytes of the configuration")
    shape.add_argument("--index", action="store_true", help="show the index at the place: its platforms")
    place(command, "place", "where it is: a PLACE")


def main(arguments: Namespace) -> int:
    """Show it."""
    if arguments.raw or arguments.index:
        with source_document(arguments, arguments.place) as found:
            _show_document(found, raw=arguments.raw)
        return 0
    with source_image(arguments, arguments.place) as image:
        if arguments.config:
            _write(image.raw_config)
        elif arguments.json:
            print(json.dumps(_facts(image), indent=2))
        else:
            print("\n".join(_lines(image)))
    return 0


def _show_document(found: Image | ImageIndex, *, raw: bool) -> None:
    from ociworks.image import ImageIndex

    if raw:
        _write(found.raw_index if isinstance(found, ImageIndex) else found.raw_manifest)
    elif isinstance(found, ImageIndex):
        for entry in found.index.manifests:
            kind = entry.artifact_type or entry.media_type
            print(f"{entry.digest}  {entry.platform or '-'}  {printable(kind, 100)}")
    else:
        print("\n".join(_lines(found)))


def _write(document: bytes) -> None:
    sys.stdout.buffer.write(document)
    sys.stdout.buffer.flush()


def _facts(image: Image) -> dict[str, object]:
    """Names in it are a stable format for programs; the configuration is as it is in the image."""
    artifact = _artifact_type(image)
    facts: dict[str, object] = {
        "digest": str(image.digest),
        "mediaType": image.descriptor.media_type,
        "size": sum(layer.size for layer in image.layers),
        "layers": [
            {"mediaType": layer.media_type, "digest": str(layer.digest), "size": layer.size}
            for layer in image.layers
        ],
        "annotations": dict(image.manifest.annotations),
    }
    if artifact is not None:
        return {**facts, "artifactType": artifact}
    return {
        **facts,
        "platform": str(image.config.platform),
        "created": image.config.created,
        "imageId": str(image.manifest.config.digest),
        "config": json.loads(image.raw_config),
    }


def _lines(image: Image) -> Iterator[str]:
    from ociworks.image.units import human_size

    yield f"digest      {image.digest}"
    yield f"media type  {printable(image.descriptor.media_type)}"
    artifact = _artifact_type(image)
    if artifact is not None:
        yield f"artifact    {printable(artifact)}"
    else:
        yield from _configuration(image)
    for key, value in image.manifest.annotations.items():
        yield f"annotation  {printable(key)}={printable(value)}"
    yield f"layers      {len(image.layers)}, {human_size(sum(layer.size for layer in image.layers))}"
    for layer in image.layers:
        yield f"            {layer.digest}  {human_size(layer.size)}"


def _configuration(image: Image) -> Iterator[str]:
    value, wanted = image.config, image.config.config
    yield f"platform    {value.platform}"
    if value.created is not None:
        yield f"created     {printable(value.created)}"
    if wanted is None:
        return
    for name, words in (("entrypoint", wanted.entrypoint), ("command", wanted.cmd)):
        if words:
            yield f"{name:<11} {json.dumps(words)}"
    for name, texts in (
        ("user", (wanted.user,)),
        ("directory", (wanted.working_dir,)),
        ("stop signal", (wanted.stop_signal,)),
        ("env", wanted.env),
        ("port", wanted.exposed_ports),
        ("volume", wanted.volumes),
        ("label", tuple(f"{key}={text}" for key, text in wanted.labels.items())),
    ):
        yield from (f"{name:<11} {printable(text)}" for text in texts if text)


def _artifact_type(image: Image) -> str | None:
    """The type of an artifact; None of an image, which has a configuration of its own."""
    from ociworks.spec.image import mediatypes

    kind = image.manifest.config.media_type
    return None if mediatypes.is_config(kind) else image.manifest.artifact_type or kind
