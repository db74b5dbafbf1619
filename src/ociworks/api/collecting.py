"""Garbage of the default store: blobs that no image needs, and layers that were unpacked for images that are gone."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from ociworks.api._roots import snapshots_directory
from ociworks.api.images import default_store
from ociworks.errors import ImageNotFound, NotSupported
from ociworks.spec import Digest

if TYPE_CHECKING:
    from ociworks.image.store import Snapshots

__all__ = ["Collected", "gc"]


@frozen(kw_only=True)
class Collected:
    """What :func:`gc` removed, or would have removed."""

    removed: tuple[Digest, ...]
    """Blobs of the store."""
    freed: int
    """Their bytes together."""
    kept: int
    """How many blobs stay."""
    layers: tuple[Digest, ...] = ()
    """Chain IDs of unpacked layers."""
    unpacked: int = 0
    """Bytes on the disk of these layers together."""


def gc(store: str | os.PathLike[str] | None = None, *, dry_run: bool = False) -> Collected:
    """Remove what no image in the store needs and nobody is using; ``dry_run`` only says what that is.

    The layers that :func:`run` and :func:`prepare` unpacked lie beside the default store and go with its images; a
    layer that is in use stays, and so does what a lease holds. Of another store only blobs are collected. Unpacked
    layers that this user may not share (see :class:`~ociworks.image.store.Snapshots`) are left alone.

    Raises :class:`~ociworks.errors.LayoutError`, before anything is removed, when a listed document is damaged.
    """
    from ociworks.image import layout

    directory = default_store() if store is None else Path(store).absolute()
    with layout.open(directory) as images:
        report = images.gc(dry_run=dry_run)
        collected = Collected(removed=report.removed, freed=report.freed, kept=report.kept)
        if directory != default_store() or not snapshots_directory().is_dir():
            return collected
        needed = images.chain_ids(without=report.removed)
    layers, unpacked = _prune(needed, dry_run=dry_run)
    return evolve(collected, layers=layers, unpacked=unpacked)


def _prune(needed: frozenset[Digest], *, dry_run: bool) -> tuple[tuple[Digest, ...], int]:
    from ociworks.image.store import Snapshots

    try:
        snapshots = Snapshots(snapshots_directory())
    except NotSupported:
        return (), 0
    with snapshots:
        sizes = {chain_id: _size(snapshots, chain_id) for chain_id in snapshots.chain_ids()}
        layers = snapshots.prune(needed, dry_run=dry_run)
    return layers, sum(sizes.get(chain_id, 0) for chain_id in layers)


def _size(snapshots: Snapshots, chain_id: Digest) -> int:
    with suppress(ImageNotFound):
        return snapshots.usage(chain_id).bytes
    return 0
