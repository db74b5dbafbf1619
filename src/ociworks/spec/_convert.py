"""JSON ↔ spec values. `read` builds values and collects every problem; `write` is its inverse.

Both follow tables that are made from a class's annotations when it is first used (``_table``, ``_readers``), so that
a Linux configuration never imports the classes of another platform. Why this is not done by a library:
docs/adr/ has the measurements.
"""

from __future__ import annotations

from _collections_abc import Mapping

from ociworks.errors import InvalidSpec, Problem, SpecError, quote
from ociworks.spec._model import Model
from ociworks.spec._readers import object_reader
from ociworks.spec._table import table
from ociworks.spec.frozen import thaw

TYPE_CHECKING = False  # not from typing, nor all of collections: commands that start a process each load this
if TYPE_CHECKING:
    from typing import TypeAlias, TypeVar, cast

    M = TypeVar("M", bound=Model)
    _Row: TypeAlias = tuple[str, str, object, bool]
    """Attribute, JSON name, the empty value to leave out, whether the value is a set of keys."""
else:
    cast = lambda _, value: value  # noqa: E731 - the same

__all__ = ["field_names", "problems", "read", "write"]

_MAX_PROBLEMS = 1000
_rows: dict[type[Model], list[_Row]] = {}


def read(cls: type[M], plain: object) -> M:
    """Build a ``cls`` from plain JSON; raises `InvalidSpec` with all problems."""
    found: list[Problem] = []
    value = object_reader(cls)(plain, None, found)
    if found:
        if len(found) > _MAX_PROBLEMS:
            found[_MAX_PROBLEMS:] = [Problem("$", f"{len(found) - _MAX_PROBLEMS} more problems")]
        raise InvalidSpec(found, cls.__name__)
    return cast("M", value)


def problems(cls: type[Model], plain: object) -> list[Problem]:
    """What `read` would complain about."""
    found: list[Problem] = []
    object_reader(cls)(plain, None, found)
    return found


def field_names(cls: type[Model]) -> dict[str, str]:
    """The attributes of a class by JSON name, in the order of the specification."""
    return {name: field.attribute for name, field in table(cls).items()}


def write(value: Model) -> dict[str, object]:
    """Plain JSON of ``value``: required members always, optional ones when set, unknown ones last."""
    plain: dict[str, object] = {}
    state = value.__dict__
    for attribute, name, omits, keys in _write_rows(value.__class__):
        item = state[attribute]
        kind = item.__class__
        if kind is str or kind is int or kind is bool:
            plain[name] = item
        elif item is None or item is omits or item == omits:
            continue
        elif keys:
            plain[name] = {key: {} for key in item}
        else:
            plain[name] = _write_item(item)
    if value.extra:
        _write_extra(value, plain)
    return plain


def _write_rows(cls: type[Model]) -> list[_Row]:
    rows = _rows.get(cls)
    if rows is None:
        rows = _rows[cls] = [
            (field.attribute, name, field.omits, "KeySet" in field.annotation)
            for name, field in table(cls).items()
        ]
    return rows


def _write_item(item: object) -> object:
    if isinstance(item, Model):
        return write(item)
    if isinstance(item, tuple):
        return [part if part.__class__ is str else _write_item(part) for part in item]
    if isinstance(item, Mapping):
        return {key: part if part.__class__ is str else _write_item(part) for key, part in item.items()}
    return _write_scalar(item)


def _write_scalar(item: object) -> object:
    if item is None or isinstance(item, (str, int, float)):
        return item
    if isinstance(item, bytes):
        import binascii

        return binascii.b2a_base64(item, newline=False).decode("ascii")
    if hasattr(item, "parse"):
        return str(item)
    raise SpecError(f"cannot write a {type(item).__name__} as JSON")


def _write_extra(value: Model, plain: dict[str, object]) -> None:
    known = table(value.__class__)
    for name, item in value.extra.items():
        if name in known:
            raise SpecError(f"{type(value).__name__}.extra has {quote(name)}, which is a field of its own")
        plain[name] = thaw(item)
