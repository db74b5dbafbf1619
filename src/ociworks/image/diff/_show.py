"""The answer as text for people and as JSON for programs. Everything that comes from the images is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterator

from ociworks.errors import quote
from ociworks.image.diff._values import ChangeKind, FieldChange, FileChange, FileInfo, ImageDiff, LayerInfo
from ociworks.image.units import human_size
from ociworks.spec import JSONValue
from ociworks.spec.frozen import thaw

__all__ = ["how", "said", "text", "to_json"]

_MARKS: dict[ChangeKind, str] = {"added": "+", "removed": "-", "changed": "~"}
_LONGEST = 200
_MOST_FILES = 1000


def text(diff: ImageDiff) -> str:
    """Several lines; ``+`` is only in the new image, ``-`` only in the old one, ``~`` in both, differently."""
    return "\n".join(_lines(diff))


def _lines(diff: ImageDiff) -> Iterator[str]:
    if diff.same:
        yield f"{diff.old}: the same image"
        return
    yield f"- {diff.old} ({human_size(diff.old_size)})"
    yield f"+ {diff.new} ({human_size(diff.new_size)})"
    if diff.fields:
        yield "fields:"
    for field in diff.fields:
        yield f"  {_MARKS[field.kind]} {_path(field.path)}: {_values(field)}"
    yield "layers:"
    shared = diff.layers.shared
    yield f"  = {len(shared)} shared ({human_size(sum(layer.size for layer in shared))})"
    yield from (f"  - {_layer(layer)}" for layer in diff.layers.removed)
    yield from (f"  + {_layer(layer)}" for layer in diff.layers.added)
    if diff.files is not None:
        yield f"files: {len(diff.files)}"
        yield from (f"  {_MARKS[file.kind]} {_file(file)}" for file in diff.files[:_MOST_FILES])
        if len(diff.files) > _MOST_FILES:
            yield f"  … and {len(diff.files) - _MOST_FILES} more"


def _values(field: FieldChange) -> str:
    if field.kind == "added":
        return said(field.new)
    if field.kind == "removed":
        return said(field.old)
    return f"{said(field.old)} → {said(field.new)}"


def said(value: JSONValue, longest: int = _LONGEST) -> str:
    """A value as JSON in printable ASCII, cut when it is long."""
    shown = json.dumps(thaw(value), ensure_ascii=True).replace("\x7f", "\\u007f")
    return shown if len(shown) <= longest else shown[:longest] + "…"


def _path(path: str) -> str:
    """As it is when it is harmless, else in quotes."""
    return path if path.isascii() and path.isprintable() else quote(path)


def _layer(layer: LayerInfo) -> str:
    step = f"  {quote(layer.created_by, 60)}" if layer.created_by else ""
    return f"{layer.digest} ({human_size(layer.size)}){step}"


def _file(file: FileChange) -> str:
    return f"{_path(file.path)}  {how(file)}"


def how(file: FileChange) -> str:
    """What a file is, or how it changed, in a few words that are printable ASCII."""
    old, new = file.old, file.new
    if old is None or new is None:
        only = new or old
        return "" if only is None else f"{only.type}, {human_size(only.size)}" if only.size else only.type
    words = {
        "type": f"{old.type} → {new.type}",
        "mode": f"mode {old.mode:04o} → {new.mode:04o}",
        "owner": f"owner {old.uid}:{old.gid} → {new.uid}:{new.gid}",
        "size": f"size {human_size(old.size)} → {human_size(new.size)}",
        "target": f"target {quote(old.target)} → {quote(new.target)}",
    }
    return ", ".join(words.get(each, each) for each in file.differences)


def to_json(diff: ImageDiff) -> bytes:
    """One object, printable ASCII."""
    members = {
        "old": {"digest": str(diff.old), "size": diff.old_size},
        "new": {"digest": str(diff.new), "size": diff.new_size},
        "same": diff.same,
        "fields": [_field_json(field) for field in diff.fields],
        "layers": {
            "shared": [_layer_json(layer) for layer in diff.layers.shared],
            "removed": [_layer_json(layer) for layer in diff.layers.removed],
            "added": [_layer_json(layer) for layer in diff.layers.added],
        },
        "files": None if diff.files is None else [_file_json(file) for file in diff.files],
    }
    return json.dumps(members, ensure_ascii=True).encode("ascii")


def _file_json(file: FileChange) -> dict[str, object]:
    return {
        "kind": file.kind,
        "path": _unicode(file.path),
        "differences": list(file.differences),
        "old": None if file.old is None else _info_json(file.old),
        "new": None if file.new is None else _info_json(file.new),
    }


def _info_json(info: FileInfo) -> dict[str, object]:
    return {
        "type": info.type,
        "mode": info.mode,
        "uid": info.uid,
        "gid": info.gid,
        "size": info.size,
        "mtime_ns": info.mtime_ns,
        "target": _unicode(info.target),
        "device": list(info.device),
        "xattrs": [_unicode(name) for name in info.xattrs],
    }


def _unicode(text: str) -> str:
    """Text that every reader of JSON takes: bytes that are no UTF-8 become escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _field_json(field: FieldChange) -> dict[str, object]:
    return {"kind": field.kind, "path": field.path, "old": thaw(field.old), "new": thaw(field.new)}


def _layer_json(layer: LayerInfo) -> dict[str, object]:
    return {
        "digest": str(layer.digest),
        "diff_id": None if layer.diff_id is None else str(layer.diff_id),
        "size": layer.size,
        "media_type": layer.media_type,
        "created_by": layer.created_by,
    }
