"""How values look in a notebook: HTML without scripts, styles sheets or anything from elsewhere.

`text` is the one place where text of unknown origin becomes HTML. Colours are those of the notebook, in lighter
shades, so that light and dark themes both work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Final

from ociworks.spec._model import Model

__all__ = ["MUTED", "count", "details", "fields", "frame", "heading", "table", "text"]

_LONGEST: Final = 2000
_ROWS: Final = 500
_DEPTH: Final = 8
MUTED: Final = "opacity:.65"
"""The style of what is not the point."""
_CELL: Final = "text-align:left;vertical-align:top;padding:1px 8px 1px 0"
_INNER: Final = "border-left:2px solid rgba(127,127,127,.35);padding-left:8px"


def text(value: object, longest: int = _LONGEST) -> str:
    """``value`` as text in HTML: markup, controls, bidi overrides and zero widths are shown and not obeyed."""
    full = value if isinstance(value, str) else str(value)
    shown = "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in full[:longest]
    )
    return escape(shown + "…" if len(full) > longest else shown, quote=True)


def count(number: int, noun: str) -> str:
    """``1 layer``, ``2 layers``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def frame(*parts: str) -> str:
    """What a value shows of itself, as one block of HTML."""
    return f'<div style="font-size:13px;line-height:1.5">{"".join(parts)}</div>'


def heading(kind: str, name: str, more: Iterable[str] = ()) -> str:
    """A line: what it is, its name, and more about it; all are HTML already."""
    tail = "".join(f' <span style="{MUTED}">· {part}</span>' for part in more)
    return f"<div><b>{kind}</b> <code>{name}</code>{tail}</div>"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells that are HTML already; after 500 rows it says how many there are."""
    titles = "".join(f'<th style="{_CELL};{MUTED}">{title}</th>' for title in head)
    kept = list(rows)
    lines = "".join(_row(cells) for cells in kept[:_ROWS])
    left = len(kept) - _ROWS
    more = f'<div style="{MUTED}">… and {left} more</div>' if left > 0 else ""
    top = f"<thead><tr>{titles}</tr></thead>" if titles else ""
    return f'<table style="border-collapse:collapse">{top}<tbody>{lines}</tbody></table>{more}'


def details(summary: str, inside: str, *, opened: bool = False) -> str:
    """A part that can be unfolded; both arguments are HTML already."""
    state = " open" if opened else ""
    return f'<details{state}><summary>{summary}</summary><div style="{_INNER}">{inside}</div></details>'


def fields(value: Model) -> str:
    """Any value of a specification: the members that are set, objects in objects."""
    return frame(_object(type(value).__name__, _set_members(value), 0))


def _row(cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>"


def _set_members(value: Model) -> dict[str, object]:
    members: dict[str, object] = dict(value.__dict__)
    extra = members.pop("extra", {})
    shown = {name: item for name, item in members.items() if item is not None and item not in ((), {})}
    return {**shown, **(extra if isinstance(extra, Mapping) else {})}


def _object(title: str, members: Mapping[str, object], depth: int) -> str:
    rows = [(text(name), _value(item, depth + 1)) for name, item in members.items()]
    return f"<b>{text(title)}</b>{table((), rows)}" if depth == 0 else table((), rows)


def _value(item: object, depth: int) -> str:
    if depth > _DEPTH:
        return text(item)
    if isinstance(item, Model):
        return _folded(type(item).__name__, _set_members(item), depth)
    if isinstance(item, Mapping):
        return _folded("", {str(name): inner for name, inner in item.items()}, depth)
    if isinstance(item, tuple):
        return _items(item, depth)
    return f"<code>{text(item)}</code>"


def _folded(title: str, members: Mapping[str, object], depth: int) -> str:
    inside = _object(title, members, depth)
    size = f'<span style="{MUTED}">{count(len(members), "member")}</span>'
    return details(f"{text(title)} {size}", inside, opened=depth < 2)


def _items(items: tuple[object, ...], depth: int) -> str:
    if not any(isinstance(item, (Model, Mapping, tuple)) for item in items):
        return " ".join(f"<code>{text(item)}</code>" for item in items[:_ROWS])
    rows = [
        (f'<span style="{MUTED}">{place}</span>', _value(item, depth + 1)) for place, item in enumerate(items)
    ]
    return details(
        f'<span style="{MUTED}">{count(len(items), "item")}</span>', table((), rows), opened=depth < 2
    )
