"""Lift an image from the base that it was built on to another one, without building it again."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from attrs import evolve, fields

from ociworks.errors import NotBasedOn
from ociworks.image.mutate._build import OCI, family, fitting, rebuilt
from ociworks.image.mutate._history import complete, end_of
from ociworks.image.types import Image
from ociworks.spec import FrozenDict
from ociworks.spec.image import Config, History, ImageConfiguration, Manifest
from ociworks.spec.image.annotations import BASE_DIGEST, BASE_NAME

__all__ = ["rebase"]


def rebase(img: Image, *, old_base: Image, new_base: Image, base_name: str | None = None) -> Image:
    """The layers of ``img`` that are above ``old_base``, on top of ``new_base``; no layer is read.

    Whether ``img`` sits on ``old_base`` is decided by diff IDs, so a base that was compressed anew is the same base.
    History: that of the new base, then what ``img`` added. Run parameters that ``img`` has from its old base are those
    of the new one afterwards; those that it set itself stay (environment and labels name by name). The platform,
    ``os.version`` included, is the new base's. An OCI image is annotated with the digest of its base, and its name
    when ``base_name`` says it.

    Nobody can know whether the layers still work there: the result is right when they depend on nothing that the new
    base changed.

    Raises :class:`~ociworks.errors.NotBasedOn`, also when the new base is for another platform, and
    :class:`~ociworks.errors.NotSupported` for artifacts.
    """
    depth = _depth(img, old_base)
    _same_platform(img, new_base)
    base = new_base.config
    config = evolve(
        img.config,
        architecture=base.architecture,
        os=base.os,
        variant=base.variant,
        os_version=base.os_version,
        os_features=base.os_features,
        config=_merge(img.config.config, old_base.config.config, base.config),
        history=(*complete(base), *_added(img.config, old_base.config)),
    )
    wanted = family(img.descriptor.media_type)
    layers = [*(fitting(layer, wanted) for layer in new_base.layers), *img.layers[depth:]]
    return rebuilt(img, manifest=_annotated(img, new_base, base_name), config=config, layers=layers)


def _depth(img: Image, base: Image) -> int:
    """How many layers the base has; they are the first ones of the image."""
    mine, below = img.config.rootfs.diff_ids, base.config.rootfs.diff_ids
    for number, (found, expected) in enumerate(zip_longest(mine[: len(below)], below), 1):
        if found != expected:
            shown = "no such layer" if found is None else str(found)
            raise NotBasedOn(
                f"image {img.digest} is not based on {base.digest}: layer {number}: expected diff ID {expected}, "
                f"found {shown}"
            )
    return len(below)


def _same_platform(img: Image, base: Image) -> None:
    mine, other = img.config.platform.normalized(), base.config.platform.normalized()
    if (mine.os, mine.architecture, mine.variant) != (other.os, other.architecture, other.variant):
        raise NotBasedOn(f"image {img.digest} is for {mine}, the new base {base.digest} for {other}")


def _added(config: ImageConfiguration, base: ImageConfiguration) -> tuple[History, ...]:
    """What happened after the base: behind its history where that is found as it was, else behind its last layer."""
    history = complete(config)
    below = complete(base)
    if history[: len(below)] == below:
        return history[len(below) :]
    return history[end_of(history, len(base.rootfs.diff_ids)) :]


def _merge(mine: Config | None, old: Config | None, new: Config | None) -> Config | None:
    """Three ways: what the image changed, else what the new base says."""
    if mine == old:
        return new
    own, before, after = mine or Config(), old or Config(), new or Config()
    changes: dict[str, Any] = {
        field.name: getattr(after, field.name)
        for field in fields(Config)
        if getattr(own, field.name) == getattr(before, field.name)
    }
    changes["env"] = tuple(
        f"{name}={value}" for name, value in _merge_names(_pairs(own), _pairs(before), _pairs(after)).items()
    )
    changes["labels"] = FrozenDict(_merge_names(own.labels, before.labels, after.labels))
    if own.entrypoint != before.entrypoint:
        changes["cmd"] = own.cmd  # arguments belong to their program
    return evolve(own, **changes)


def _pairs(config: Config) -> dict[str, str]:
    return {name: value for name, _, value in (entry.partition("=") for entry in config.env)}


def _merge_names(mine: Mapping[str, str], old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    changed = {name: value for name, value in mine.items() if old.get(name) != value}
    dropped = old.keys() - mine.keys()
    return {name: value for name, value in new.items() if name not in dropped} | changed


def _annotated(img: Image, base: Image, name: str | None) -> Manifest:
    manifest = img.manifest
    if family(img.descriptor.media_type) != OCI:
        return manifest
    kept = {key: value for key, value in manifest.annotations.items() if key != BASE_NAME}
    named = {BASE_NAME: name} if name else {}
    return evolve(manifest, annotations=FrozenDict({**kept, BASE_DIGEST: str(base.digest), **named}))
