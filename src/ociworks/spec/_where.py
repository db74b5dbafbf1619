"""Where in a document something is: a chain of keys, rendered as a JSON path only when there is a problem."""

from __future__ import annotations

from ociworks.errors import Problem, quote

TYPE_CHECKING = False  # not from typing: commands that start a process each load this
if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = ["Where", "member", "render", "wrong"]

Where: TypeAlias = "tuple[Where, str | int] | None"
"""The parent and the key in it; None is the document itself."""

_JSON_KINDS = {dict: "object", list: "array", type(None): "null"}


def render(where: Where) -> str:
    """A JSON path such as ``$.process.args[1]``."""
    parts: list[str] = []
    while where is not None:
        where, key = where
        parts.append(f"[{key}]" if isinstance(key, int) else member(key))
    return "$" + "".join(reversed(parts))


def member(name: str) -> str:
    """The step to a member: ``.name``, or ``['name']`` with escapes when the name is not an identifier."""
    return f".{name}" if name.isidentifier() and name.isascii() else f"[{quote(name, 80)}]"


def wrong(where: Where, expected: str, value: object) -> Problem:
    """The problem of a value that has another type than ``expected``."""
    found = _JSON_KINDS.get(type(value), type(value).__name__)
    return Problem(render(where), f"expected {expected}, got {found}")
