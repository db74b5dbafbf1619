"""The question: what is different between two images."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import cast

from ociworks.image.diff import _fields, _files, _layers
from ociworks.image.diff._values import FieldChange, ImageDiff
from ociworks.image.types import Image
from ociworks.spec import FrozenDict, JSONValue
from ociworks.spec.frozen import freeze
from ociworks.spec.image import mediatypes

__all__ = ["images"]

_OF_LAYERS = frozenset({"config", "layers"})


def images(old: Image, new: Image, *, files: bool = True, times: bool = False) -> ImageDiff:
    """What ``new`` has, lacks and has otherwise than ``old``.

    ``files`` compares the trees that the images unpack to: their layers are read, unless both have the same, and the
    content of files only where a file of the same size was written twice. ``times`` makes another modification time a
    difference. Without ``files`` no layer is read.

    Raises what reading and unpacking the layers raises: :class:`~ociworks.errors.LayerError`,
    :class:`~ociworks.errors.ContentError`, :class:`~ociworks.errors.LimitExceeded` …
    """
    compared = _files.compare(old, new, times=times) if files and _unpackable(old, new) else None
    return ImageDiff(
        old=old.digest,
        new=new.digest,
        old_size=sum(layer.size for layer in old.layers),
        new_size=sum(layer.size for layer in new.layers),
        fields=tuple(_changed_fields(old, new)),
        layers=_layers.compare(old, new),
        files=compared,
    )


def _unpackable(*found: Image) -> bool:
    """Artifacts have no files to compare."""
    return all(_has_config(img) for img in found)


def _changed_fields(old: Image, new: Image) -> Iterator[FieldChange]:
    yield from _fields.compare(_manifest(old), _manifest(new), "manifest")
    if _has_config(old) and _has_config(new):
        yield from _fields.compare(_config(old), _config(new), "config")
    elif old.raw_config != new.raw_config:
        before, after = str(old.manifest.config.digest), str(new.manifest.config.digest)
        yield FieldChange(kind="changed", path="manifest.config.digest", old=before, new=after)


def _manifest(img: Image) -> Mapping[str, JSONValue]:
    """The members of the manifest but for those of layers; the configuration only by its type."""
    members = _members(img.raw_manifest)
    kept = {name: value for name, value in members.items() if name not in _OF_LAYERS}
    return {**kept, "config": FrozenDict({"mediaType": img.manifest.config.media_type})}


def _config(img: Image) -> Mapping[str, JSONValue]:
    return {name: value for name, value in _members(img.raw_config).items() if name != "rootfs"}


def _has_config(img: Image) -> bool:
    return mediatypes.is_config(img.manifest.config.media_type)


def _members(raw: bytes) -> Mapping[str, JSONValue]:
    """The members of a document that was read strictly when its image was made."""
    return cast("Mapping[str, JSONValue]", freeze(json.loads(raw)))
