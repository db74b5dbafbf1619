"""Several layers as one: what they change together.

The new layer is what leads from the tree below the squashed layers to the tree with them (``image._delta``): new and
changed files once, a whiteout for what is gone, nothing for what came and went.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve

from ociworks.errors import ImageConfigError
from ociworks.image._delta import changed_entries
from ociworks.image._pack.sources import layer_from_entries
from ociworks.image.mutate._build import family, rebuilt, replaced
from ociworks.image.mutate._history import complete, emptied, end_of
from ociworks.image.tar.compression import compression_of
from ociworks.image.types import Image
from ociworks.spec.image import History, ImageConfiguration, mediatypes

if TYPE_CHECKING:
    from ociworks.spec.image.mediatypes import Compression

__all__ = ["flatten", "squash"]

_SQUASHED: Final = History(created_by="ociworks squash")


def flatten(
    img: Image,
    *,
    history: History | None = None,
    keep_history: bool = True,
    compression: Compression | None = None,
) -> Image:
    """The image with all its files in one layer, without whiteouts and without anything that was deleted.

    The steps of the history stay, as steps that made no layer, in front of ``history``, which made this one; without
    ``keep_history`` only that is left (arguments of old steps may hold secrets that the files no longer do). An image
    of one layer or none is given back as it is. All layers are read, twice where they have content that stays.

    Raises what reading and unpacking the layers raises, and :class:`~ociworks.errors.NotSupported` for artifacts.
    """
    return _squash(img, 0, history or _SQUASHED, keep_history=keep_history, compression=compression)


def squash(
    img: Image,
    *,
    last: int | None = None,
    start: int | None = None,
    history: History | None = None,
    compression: Compression | None = None,
) -> Image:
    """The image with its ``last`` layers, or those from number ``start`` (base is 0) on, as one.

    Unpacked it is the same tree. The layers below stay as they are; the names in them are read, because links and
    deletions lead there. History and compression (None: that of the last layer) as in :func:`flatten`.

    Raises :class:`~ociworks.errors.ImageConfigError` when the image does not have that many layers, and what
    :func:`flatten` raises.
    """
    count = len(img.layers)
    if (last is None) == (start is None):
        raise ImageConfigError("squash: expected either last or start")
    first = start if start is not None else count - (last or 0)
    if not 0 <= first <= count or (last is not None and last < 0):
        raise ImageConfigError(f"squash: the image has {count} layers, no such layers as asked for")
    return _squash(img, first, history or _SQUASHED, keep_history=True, compression=compression)


def _squash(
    img: Image, first: int, step: History, *, keep_history: bool, compression: Compression | None
) -> Image:
    config = img.config
    if len(img.layers) - first < 2:
        return img
    if step.empty_layer:
        raise ImageConfigError("history: expected a step that makes a layer, got one with empty_layer")
    top = img.layers[-1]
    if not all(mediatypes.is_layer(layer.media_type) for layer in img.layers):
        raise ImageConfigError("expected filesystem layers only")
    made = layer_from_entries(
        changed_entries(img.layers, first), compression or compression_of(top.media_type)
    )
    wanted = family(img.descriptor.media_type)
    return rebuilt(
        img,
        config=evolve(config, history=_history(config, first, step, keep=keep_history)),
        layers=(*img.layers[:first], replaced(None, made, wanted)),
    )


def _history(config: ImageConfiguration, first: int, step: History, *, keep: bool) -> tuple[History, ...]:
    steps = complete(config)
    below = end_of(steps, first)
    squashed = [emptied(old) for old in steps[below:]] if keep else []
    return (*steps[:below], *squashed, step)
