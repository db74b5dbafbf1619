"""The answer to "what is different?", in frozen parts."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from ociworks.spec import Digest, JSONValue

__all__ = ["ChangeKind", "FieldChange", "ImageDiff", "LayerChanges", "LayerInfo"]

ChangeKind = Literal["added", "removed", "changed"]


@frozen(kw_only=True)
class FieldChange:
    """One member of a document that differs."""

    kind: ChangeKind
    path: str
    """``config.config.Env.PATH``, ``manifest.annotations['a.b']``, ``config.history[3]`` …; text from the images."""
    old: JSONValue = None
    new: JSONValue = None


@frozen(kw_only=True)
class LayerInfo:
    """A layer, and the step of the history that made it."""

    digest: Digest
    diff_id: Digest | None
    """None in an artifact."""
    size: int
    """Bytes as they travel."""
    media_type: str
    created_by: str | None = None


@frozen(kw_only=True)
class LayerChanges:
    """Layers are the same when their diff IDs are: the same files, however compressed."""

    shared: tuple[LayerInfo, ...] = ()
    """Those with which both images begin, as they are in the second one."""
    removed: tuple[LayerInfo, ...] = ()
    """What the first image has above them."""
    added: tuple[LayerInfo, ...] = ()
    """What the second image has above them."""


@frozen(kw_only=True)
class ImageDiff:
    """What is different between a first image and a second one."""

    old: Digest
    new: Digest
    old_size: int
    """Bytes of all layers as they travel."""
    new_size: int
    fields: tuple[FieldChange, ...] = ()
    """Members of manifest and configuration; those that only name layers are left to ``layers``."""
    layers: LayerChanges = LayerChanges()

    @property
    def same(self) -> bool:
        """Whether both are the same image, byte for byte."""
        return self.old == self.new

    def to_json(self) -> bytes:
        """The answer as one JSON object; names of members are those of the attributes."""
        from ociworks.image.diff._show import to_json

        return to_json(self)

    def __str__(self) -> str:
        from ociworks.image.diff._show import text

        return text(self)

    def _repr_html_(self) -> str:
        from ociworks.image.notebook import diff

        return diff(self)
