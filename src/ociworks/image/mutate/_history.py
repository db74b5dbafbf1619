"""Which step of a history made which layer.

A history lists steps, base first; those without ``empty_layer`` made the layers, in order (image-spec config.md,
history). Images without any history are common, and Go programs accept one that is too short; both are completed with
entries that say nothing, so that what is put on top stays beside its layer.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from ociworks.errors import ImageConfigError
from ociworks.spec.image import History, ImageConfiguration

__all__ = ["complete", "emptied", "end_of"]


def complete(config: ImageConfiguration) -> tuple[History, ...]:
    """The history with one step for each layer; ImageConfigError when it has more steps than there are layers."""
    layers = len(config.rootfs.diff_ids)
    made = sum(not step.empty_layer for step in config.history)
    if made > layers:
        raise ImageConfigError(
            f"the history says that {made} layers were made, but there are {layers} diff IDs"
        )
    return (*config.history, *(History() for _ in range(layers - made)))


def end_of(history: Sequence[History], layers: int) -> int:
    """The position behind the step that made the layer of this number, counted from 1; 0 for none."""
    place = 0
    while layers and place < len(history):
        layers -= not history[place].empty_layer
        place += 1
    return place


def emptied(step: History) -> History:
    """A step that happened, but whose layer is no more."""
    return evolve(step, empty_layer=True)
