"""Layers into a directory: the part of unpacking that knows nothing of bundles."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ociworks.image._unpack.extractor import Extractor
from ociworks.image._unpack.pipeline import LayerStream
from ociworks.image._unpack.policy import Budget
from ociworks.image.progress import Reporter
from ociworks.image.tar.reader import TarReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ociworks.image._unpack.overlay import OverlayForm
    from ociworks.image._unpack.policy import LayerReport, UnpackOptions
    from ociworks.image.progress import ProgressCallback
    from ociworks.image.types import Layer
    from ociworks.spec.digest import Readable

__all__ = ["apply_layer", "unpack_layer", "unpack_layers"]


def apply_layer(
    stream: Readable,
    rootfd: int,
    options: UnpackOptions,
    budget: Budget | None = None,
    *,
    overlay: OverlayForm | None = None,
) -> LayerReport:
    """Apply one uncompressed layer to the tree at ``rootfd`` (a directory open for reading), and report.

    Without ``overlay`` the tree is the merged one of all layers so far. With it, it is an empty directory, which
    becomes the upper directory of an overlay mount over the layers below.

    Reads ``stream`` to its end. Nothing outside the tree is touched, whatever the archive says; after an error the
    tree is incomplete and is the caller's to remove. ``budget`` carries the counts of an image from layer to layer.

    Raises :class:`ociworks.errors.TarError`, :class:`ociworks.errors.LayerError` (the disk failed),
    :class:`ociworks.errors.LimitExceeded`, and what ``stream`` raises.
    """
    budget = budget or Budget(options.limits)
    reader = TarReader(_Counted(stream, budget), options.limits)
    with Extractor(rootfd, options, budget, overlay) as extractor:
        for entry in reader:
            extractor.apply(entry, reader.stored())
        extractor.finish()
    return budget.report()


def unpack_layer(
    layer: Layer,
    rootfd: int,
    options: UnpackOptions,
    *,
    overlay: OverlayForm | None = None,
    progress: ProgressCallback | None = None,
    budget: Budget | None = None,
) -> LayerReport:
    """Apply one verified layer like :func:`apply_layer`; what the directory holds may be used once this returns.

    Whoever unpacks the layers of an image one by one shares one ``budget`` among them.

    Raises like :func:`apply_layer`, and :class:`ociworks.errors.ContentError` when the layer is not what it should be.
    """
    budget = budget or Budget(options.limits)
    budget.begin_layer()
    with LayerStream(layer, options.limits, Reporter(progress, "unpack")) as stream:
        return apply_layer(stream, rootfd, options, budget, overlay=overlay)


def unpack_layers(
    layers: Iterable[Layer], rootfd: int, options: UnpackOptions, *, progress: ProgressCallback | None = None
) -> tuple[LayerReport, ...]:
    """Apply verified layers, base first, to the tree at ``rootfd``; each is compared with digest, size and diff ID.

    Raises like :func:`apply_layer`, and :class:`ociworks.errors.ContentError` when a layer is not what it should be.
    """
    budget = Budget(options.limits)
    report = Reporter(progress, "unpack")
    streams = [LayerStream(layer, options.limits, report) for layer in layers]
    reports = []
    with contextlib.ExitStack() as started:
        for number, stream in enumerate(streams):
            if not stream.started:
                started.enter_context(stream)
            budget.begin_layer()
            watched = _Relay(stream, streams[number + 1 : number + 2], started)
            reports.append(apply_layer(watched, rootfd, options, budget))
    return tuple(reports)


class _Relay:
    """A layer's stream that starts the next one when it has been read itself, while its last bytes are written.

    Not before: a connection to a registry that nobody reads from would be cut. When the next one fails, this one ends:
    nobody waits for work that is lost.
    """

    def __init__(
        self, stream: LayerStream, ahead: Sequence[LayerStream], started: contextlib.ExitStack
    ) -> None:
        self._stream = stream
        self._ahead = ahead
        self._started = started

    def read(self, size: int, /) -> bytes:
        for following in self._ahead:
            if following.failure is not None:
                raise following.failure
            if self._stream.read_whole and not following.started:
                self._started.enter_context(following)
        return self._stream.read(size)


class _Counted:
    """A stream whose bytes count against the budget, padding and all."""

    def __init__(self, stream: Readable, budget: Budget) -> None:
        self._stream = stream
        self._budget = budget

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        self._budget.count_bytes(len(data))
        return data
