"""The answer to "what is different?", in frozen parts."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from ociworks.image.tar.entry import EntryType
from ociworks.spec import Digest, JSONValue

__all__ = [
    "ChangeKind",
    "Difference",
    "FieldChange",
    "FileChange",
    "FileInfo",
    "ImageDiff",
    "LayerChanges",
    "LayerInfo",
]

ChangeKind = Literal["added", "removed", "changed"]
Difference = Literal[
    "type", "mode", "owner", "size", "content", "target", "device", "links", "xattrs", "time"
]
"""How a file may differ; ``links`` is which names are the same file."""


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
class FileInfo:
    """What a layer says of a file."""

    type: EntryType
    mode: int
    """Permission bits with set-uid, set-gid and sticky."""
    uid: int
    gid: int
    size: int
    mtime_ns: int
    """Nanoseconds since 1970."""
    target: str = ""
    """Where a symbolic link leads."""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[str, ...] = ()
    """The names of extended attributes."""


@frozen(kw_only=True)
class FileChange:
    """A file that only one of the images has, or that both have differently."""

    kind: ChangeKind
    path: str
    """Absolute; bytes that are not UTF-8 as ``os.fsdecode`` writes them. Text from the images."""
    differences: tuple[Difference, ...] = ()
    """How it changed; empty for what was added or removed."""
    old: FileInfo | None = None
    new: FileInfo | None = None


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
    files: tuple[FileChange, ...] | None = None
    """Sorted by path; None when files were not compared."""

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
