"""One time for everything: what was built twice from the same files becomes the same image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from attrs import evolve

from ociworks.errors import SpecError, quote
from ociworks.image._archives import Archive, open_archive
from ociworks.image._pack.sources import layer_from_entries
from ociworks.image.mutate._build import family, rebuilt, replaced
from ociworks.image.tar import TarEntry
from ociworks.image.tar.compression import compression_of
from ociworks.image.types import Image, Layer
from ociworks.spec import FrozenDict
from ociworks.spec.digest import BytesLike
from ociworks.spec.image import History, ImageConfiguration, Manifest, mediatypes
from ociworks.spec.image.annotations import CREATED

__all__ = ["time"]

_NANO: Final = 1_000_000_000
_LATEST: Final = 253_402_300_799  # the last second of the year 9999, the last one that RFC 3339 can write


def time(img: Image, when: int | datetime, *, clamp: bool = False, layers: bool = True) -> Image:
    """The image with this time (seconds since 1970, or a time with a zone) on all that has one.

    That is: files in layers, ``created`` of the configuration and of the steps of its history that have one, and the
    annotation ``org.opencontainers.image.created`` where it is. With ``clamp`` only what is later is changed, which is
    what SOURCE_DATE_EPOCH means: pass its value. Layers (None of them without ``layers``) in which something changes
    are read, written anew in one fixed form and compressed as before; the others stay as they are. Applied twice, it
    changes nothing the second time.

    Raises :class:`~ociworks.errors.SpecError` for a time before 1970, after 9999, or without a zone, and what reading
    a layer raises.
    """
    seconds = _seconds(when)
    config = _config(img.config, seconds, clamp=clamp)
    manifest = _manifest(img.manifest, seconds, clamp=clamp)
    if not layers:
        return rebuilt(img, manifest=manifest, config=config)
    wanted = family(img.descriptor.media_type)
    timed = [replaced(layer, _layer(layer, seconds * _NANO, clamp=clamp), wanted) for layer in img.layers]
    return rebuilt(img, manifest=manifest, config=config, layers=timed)


def _seconds(when: int | datetime) -> int:
    if isinstance(when, datetime):
        if when.tzinfo is None:
            raise SpecError(f"expected a time with a zone, got {when.isoformat()}")
        when = math.floor(when.timestamp())
    if not 0 <= when <= _LATEST:
        raise SpecError(f"expected a time from 1970 to 9999 in seconds, got {when}")
    return when


def _layer(layer: Layer, when_ns: int, *, clamp: bool) -> Layer:
    """The layer with other times, or itself when that would make no other archive."""
    if not mediatypes.is_distributable(layer.media_type):
        return layer
    if clamp and not any(entry.mtime_ns > when_ns for entry in layer.entries()):
        return layer
    with open_archive(layer) as archive:
        made = layer_from_entries(_timed(archive, when_ns, clamp=clamp), compression_of(layer.media_type))
    return layer if made.diff_id == layer.diff_id else made


def _timed(archive: Archive, when_ns: int, *, clamp: bool) -> Iterator[tuple[TarEntry, Iterator[BytesLike]]]:
    for entry in archive:
        mtime = min(entry.mtime_ns, when_ns) if clamp else when_ns
        yield entry._replace(mtime_ns=mtime), archive.content()


def _config(config: ImageConfiguration, seconds: int, *, clamp: bool) -> ImageConfiguration:
    history = tuple(_step(step, seconds, clamp=clamp) for step in config.history)
    if config.created is None and clamp:
        return evolve(config, history=history)
    return evolve(config, created=_stamp(config.created, seconds, clamp=clamp), history=history)


def _step(step: History, seconds: int, *, clamp: bool) -> History:
    if step.created is None:
        return step
    return evolve(step, created=_stamp(step.created, seconds, clamp=clamp))


def _manifest(manifest: Manifest, seconds: int, *, clamp: bool) -> Manifest:
    old = manifest.annotations.get(CREATED)
    if old is None:
        return manifest
    stamp = _stamp(old, seconds, clamp=clamp)
    return evolve(manifest, annotations=FrozenDict({**manifest.annotations, CREATED: stamp}))


def _stamp(old: str | None, seconds: int, *, clamp: bool) -> str:
    """The new time as RFC 3339; the old text where that is not later."""
    if clamp and old is not None and _parsed(old).timestamp() <= seconds:
        return old
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parsed(text: str) -> datetime:
    """A time as the specification writes it; nanoseconds, which Go writes and Python does not know, are cut."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise SpecError(f"created: expected a time (RFC 3339), got {quote(text)}") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
