"""The layers with which both images begin, and what each has above them."""

from __future__ import annotations

from collections.abc import Sequence

from ociworks.image.diff._values import LayerChanges, LayerInfo
from ociworks.image.types import Image
from ociworks.spec.image import mediatypes

__all__ = ["compare", "described"]


def compare(old: Image, new: Image) -> LayerChanges:
    """The common beginning by diff IDs (by digests where there are none), and the rest of both."""
    before, after = described(old), described(new)
    same = 0
    while same < min(len(before), len(after)) and _identity(before[same]) == _identity(after[same]):
        same += 1
    return LayerChanges(shared=after[:same], removed=before[same:], added=after[same:])


def described(img: Image) -> tuple[LayerInfo, ...]:
    """The layers of an image with the steps that made them."""
    has_config = mediatypes.is_config(img.manifest.config.media_type)
    steps = _steps(img, len(img.layers)) if has_config else [None] * len(img.layers)
    return tuple(
        LayerInfo(
            digest=layer.digest,
            diff_id=layer.diff_id if has_config else None,
            size=layer.size,
            media_type=layer.media_type,
            created_by=step,
        )
        for layer, step in zip(img.layers, steps, strict=True)
    )


def _steps(img: Image, layers: int) -> Sequence[str | None]:
    """What made each layer, where the history says it for all of them."""
    made = [step.created_by for step in img.config.history if not step.empty_layer]
    return made if len(made) == layers else [None] * layers


def _identity(layer: LayerInfo) -> object:
    return layer.diff_id or layer.digest
