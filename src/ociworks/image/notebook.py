"""How images, indexes, layers, differences and verdicts look in a notebook (``_repr_html_`` of the values calls these).

Nothing is read for it: what is shown is in memory already. Everything that comes from an image passes through
`ociworks.spec.notebook.text`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from ociworks.image.units import human_size
from ociworks.spec.image import mediatypes
from ociworks.spec.notebook import count, details, fields, frame, heading, table, text

if TYPE_CHECKING:
    from ociworks.errors import Problem
    from ociworks.image.diff import FieldChange, ImageDiff, LayerInfo
    from ociworks.image.sign import Decision, Verification
    from ociworks.image.types import Image, ImageIndex, Layer
    from ociworks.spec import Digest

__all__ = ["decision", "diff", "image", "index", "layer", "problems", "sizes", "verification"]

_WIDTH: Final = 640
_HEIGHT: Final = 22
_SMALLEST: Final = 2.0
_COLOURS: Final = ("#4c8dae", "#6aa66a", "#c08a4a", "#8f7ab8", "#b86a7a", "#5aa6a0")
_MOST: Final = 200
_MARKS: Final = {"added": ("+", "#4f9a4f"), "removed": ("−", "#c05a5a"), "changed": ("~", "#b08a3a")}


def image(img: Image) -> str:
    """An image: platform and sizes, a picture of its layers, its layers, its configuration."""
    from ociworks.image.diff._layers import described

    layers = described(img)
    total = sum(each.size for each in layers)
    more = [count(len(layers), "layer"), human_size(total)]
    parts = []
    if mediatypes.is_config(img.manifest.config.media_type):
        more.insert(0, text(img.config.platform))
        if img.config.created:
            more.append(text(img.config.created))
        parts.append(details("configuration", fields(img.config)))
    else:
        more.insert(0, text(img.manifest.artifact_type or img.manifest.config.media_type))
    if img.manifest.annotations:
        rows = [
            (text(name), f"<code>{text(value)}</code>") for name, value in img.manifest.annotations.items()
        ]
        parts.append(details("annotations", table((), rows)))
    listed = details("layers", _layers(layers), opened=len(layers) <= 12)
    return frame(heading("Image", _short(img.digest), more), sizes(layers), listed, *parts)


def index(idx: ImageIndex) -> str:
    """An index: its entries."""
    rows = [
        (
            f"<code>{_short(entry.digest)}</code>",
            text(entry.platform or "—"),
            text(entry.artifact_type or entry.media_type),
            human_size(entry.size),
            " ".join(f"<code>{text(key)}={text(value)}</code>" for key, value in entry.annotations.items()),
        )
        for entry in idx.index.manifests
    ]
    head = heading("Index", _short(idx.digest), [f"{len(rows)} entr{'y' if len(rows) == 1 else 'ies'}"])
    return frame(head, table(("digest", "platform", "type", "size", "annotations"), rows))


def layer(each: Layer) -> str:
    """A layer: a line."""
    return frame(heading("Layer", _short(each.digest), [text(each.media_type), human_size(each.size)]))


def diff(found: ImageDiff) -> str:
    """Two images: members, layers and files that differ."""
    if found.same:
        return frame(heading("Same image", _short(found.old)))
    grown = found.new_size - found.old_size
    more = [f"{'−' if grown < 0 else '+'}{human_size(abs(grown))}"]
    head = heading("Difference", f"{_short(found.old)} → {_short(found.new)}", more)
    return frame(head, *_diff_parts(found))


def problems(what: str, found: Sequence[Problem]) -> str:
    """What was found when something was looked over."""
    rows = [(f"<code>{text(each.path)}</code>", text(each.message), text(each.section)) for each in found]
    head = heading(count(len(found), "problem") if found else "No problems", text(what))
    return frame(head, table((), rows) if rows else "")


def verification(found: Verification) -> str:
    """A verdict about signatures: those that hold, those that do not and why, and what is missing."""
    rows = [
        (_mark("added"), text(each.form), f"<code>{text(each.signer)}</code>", text(each.identity or ""))
        for each in found.valid
    ]
    rows += [
        (_mark("removed"), text(each.form), f"<code>{text(each.signer)}</code>", text(each.message))
        for each in found.rejected
    ]
    unmet = [(_mark("removed"), text(each)) for each in found.unmet]
    head = heading("Signed" if found.accepted else "Not trusted", text(found.reference or found.image.digest))
    return frame(head, table(("", "form", "signer", ""), rows) if rows else "", table((), unmet))


def decision(found: Decision) -> str:
    """What a policy says: its requirements, and how each came out."""
    rows = [
        (
            _mark("added" if each.accepted else "removed"),
            f"<code>{text(each.requirement)}</code>",
            text(each.message),
        )
        for each in found.outcomes
    ]
    name = text(found.reference or found.image.digest)
    head = heading("Accepted" if found.accepted else "Rejected", name, [f"policy for {text(found.scope)}"])
    return frame(head, table((), rows))


def _diff_parts(found: ImageDiff) -> Iterator[str]:
    from ociworks.image.diff._show import how

    if found.fields:
        rows = [(_mark(each.kind), f"<code>{text(each.path)}</code>", _values(each)) for each in found.fields]
        yield details(count(len(rows), "field"), table((), rows), opened=True)
    changed = [(_mark("removed"), each) for each in found.layers.removed]
    changed += [(_mark("added"), each) for each in found.layers.added]
    lines = [(mark, *_layer_cells(each)) for mark, each in changed]
    title = f"{count(len(lines), 'layer')}, {len(found.layers.shared)} shared"
    yield details(title, table(("", "digest", "size", "made by"), lines), opened=True)
    if found.files is not None:
        rows = [
            (_mark(each.kind), f"<code>{text(each.path)}</code>", text(how(each))) for each in found.files
        ]
        yield details(count(len(rows), "file"), table((), rows), opened=len(rows) <= 50)


def sizes(layers: Sequence[LayerInfo]) -> str:
    """A picture of the sizes of layers, base at the left: inline SVG, each part with its name as a tooltip."""
    shown = [each for each in layers if each.size > 0][:_MOST]
    total = sum(each.size for each in shown)
    if not shown:
        return ""
    room = _WIDTH - _SMALLEST * len(shown)
    parts, left = [], 0.0
    for place, each in enumerate(shown):
        width = _SMALLEST + room * (each.size / total)
        title = f"{_short(each.digest)} · {human_size(each.size)}"
        step = f" · {text(each.created_by, 200)}" if each.created_by else ""
        colour = _COLOURS[place % len(_COLOURS)]
        parts.append(
            f'<rect x="{left:.1f}" y="0" width="{max(width - 1, 1):.1f}" height="{_HEIGHT}" fill="{colour}">'
            f"<title>{title}{step}</title></rect>"
        )
        left += width
    label = f"sizes of {count(len(shown), 'layer')}, {human_size(total)} together"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img" aria-label="{label}" style="max-width:100%">{"".join(parts)}</svg>'
    )


def _layers(layers: Sequence[LayerInfo]) -> str:
    rows = [(str(place), *_layer_cells(each)) for place, each in enumerate(layers)]
    return table(("", "digest", "size", "made by"), rows)


def _layer_cells(each: LayerInfo) -> tuple[str, str, str]:
    step = f"<code>{text(each.created_by, 200)}</code>" if each.created_by else ""
    return f"<code>{_short(each.digest)}</code>", human_size(each.size), step


def _values(each: FieldChange) -> str:
    from ociworks.image.diff._show import said

    old, new = (f"<code>{text(said(value))}</code>" for value in (each.old, each.new))
    if each.kind == "changed":
        return f"{old} → {new}"
    return new if each.kind == "added" else old


def _mark(kind: str) -> str:
    sign, colour = _MARKS[kind]
    return f'<b style="color:{colour}">{sign}</b>'


def _short(digest: Digest) -> str:
    return text(f"{digest.algorithm}:{digest.encoded[:12]}")
