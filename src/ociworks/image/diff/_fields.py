"""Two JSON documents, member by member.

Objects are compared by name, however deep; arrays as a whole, except for the environment, where each variable has a
name, and the history, which grows at its end. What a document says by an empty member and by none is the same, but
for names that somebody chose: an empty label is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ociworks.image.diff._values import FieldChange
from ociworks.spec import FrozenDict, JSONValue

__all__ = ["compare"]

_EMPTY = (None, "", (), False, 0)
_CHOSEN = frozenset({"Labels", "annotations", "ExposedPorts", "Volumes"})


def compare(old: Mapping[str, JSONValue], new: Mapping[str, JSONValue], at: str) -> Iterator[FieldChange]:
    """The members that differ, in order of the names."""
    for name in sorted(old.keys() | new.keys()):
        yield from _member(name, old.get(name), new.get(name), at + _step(name))


def _compare_chosen(
    old: Mapping[str, JSONValue], new: Mapping[str, JSONValue], at: str
) -> Iterator[FieldChange]:
    """The same for names that somebody chose."""
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield _change(at + _step(name), old.get(name), new.get(name))


def _member(name: str, old: JSONValue, new: JSONValue, at: str) -> Iterator[FieldChange]:
    if old == new or (_is_empty(old) and _is_empty(new)):
        return
    if isinstance(old, Mapping) or isinstance(new, Mapping):
        if _has_names(old) and _has_names(new):
            inside = _compare_chosen if name in _CHOSEN else compare
            yield from inside(_names(old), _names(new), at)
            return
    elif name == "Env" and _is_list(old) and _is_list(new):
        named = tuple(_compare_chosen(_variables(old), _variables(new), at))
        yield from named or (_change(at, old, new),)  # another order, or one name twice
        return
    elif name == "history" and _is_list(old) and _is_list(new):
        yield from _steps(old, new, at)
        return
    yield _change(at, old, new)


def _change(at: str, old: JSONValue, new: JSONValue) -> FieldChange:
    if old is None:
        return FieldChange(kind="added", path=at, new=new)
    if new is None:
        return FieldChange(kind="removed", path=at, old=old)
    return FieldChange(kind="changed", path=at, old=old, new=new)


def _steps(old: JSONValue, new: JSONValue, at: str) -> Iterator[FieldChange]:
    """What comes behind the common beginning, the old before the new."""
    before, after = _items(old), _items(new)
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    for place in range(same, len(before)):
        yield FieldChange(kind="removed", path=f"{at}[{place}]", old=before[place])
    for place in range(same, len(after)):
        yield FieldChange(kind="added", path=f"{at}[{place}]", new=after[place])


def _variables(value: JSONValue) -> Mapping[str, JSONValue]:
    entries = (str(item).partition("=") for item in _items(value))
    return FrozenDict({name: text for name, _, text in entries})


def _items(value: JSONValue) -> tuple[JSONValue, ...]:
    return value if isinstance(value, tuple) else ()


def _is_list(value: JSONValue) -> bool:
    return value is None or isinstance(value, tuple)


def _has_names(value: JSONValue) -> bool:
    return value is None or isinstance(value, Mapping)


def _names(value: JSONValue) -> Mapping[str, JSONValue]:
    return value if isinstance(value, Mapping) else FrozenDict()


def _is_empty(value: JSONValue) -> bool:
    return value in _EMPTY or (isinstance(value, Mapping) and not value)


def _step(name: str) -> str:
    """A name as a step of a path; odd ones in brackets, so that no name can look like two."""
    return f".{name}" if name.replace("_", "a").isalnum() and name.isascii() else f"[{name!r}]"
