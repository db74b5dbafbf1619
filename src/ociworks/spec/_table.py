"""One table per class: JSON names, attributes, and what the annotations mean, worked out when first met.

Annotations are read as the text that they are, not evaluated: a command that starts a process each time has no time
to load ``typing``. What they may say is little, see :func:`kind_of`.
"""

from __future__ import annotations

import sys

from ociworks._values import MISSING, fields_of, frozen
from ociworks.spec._model import Model, json_name, reading_options
from ociworks.spec.frozen import FrozenDict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, TypeAlias

    from ociworks.spec._model import Mark

__all__ = ["ANY", "EMPTY", "NOTHING", "Field", "Many", "kind_of", "table"]

EMPTY: FrozenDict[str, object] = FrozenDict()
ANY: Final = "any"
"""The kind of any JSON."""
NOTHING: Final = object()
"""Stands where there is no value."""


@frozen
class Many:
    """The kind of a list, or of a map by name."""

    of: Kind
    named: bool = False


if TYPE_CHECKING:
    Kind: TypeAlias = str | type | Mark | Many
    """`ANY`, a scalar's type, a class of ours, a class with ``parse``, bounds or another mark, or many of these."""


@frozen
class Field:
    """A field of a class, as reading and writing need it."""

    attribute: str
    annotation: str
    required: bool
    """Must be in the JSON that is read."""
    default: object
    """`NOTHING` when it has none."""
    omits: object
    """The empty value that is left out when writing; `NOTHING` when every value is written."""


_SCALARS: Final = {"str": str, "bool": bool, "int": int, "float": float}
_tables: dict[type[Model], dict[str, Field]] = {}


def table(cls: type[Model]) -> dict[str, Field]:
    """The fields of ``cls`` by JSON name, in the order of the specification."""
    known = _tables.get(cls)
    if known is None:
        known = _tables[cls] = _make_table(cls)
    return known


def _make_table(cls: type[Model]) -> dict[str, Field]:
    options = reading_options(cls)
    found = fields_of(cls)
    fields = {}
    for name, annotation in found.annotations.items():
        if name == "extra":
            continue
        default = found.defaults[name]
        required = default is MISSING or name in options.required
        optional = not required and (default is None or default in ((), EMPTY))
        fields[options.names.get(name) or json_name(name)] = Field(
            name,
            annotation,
            required,
            NOTHING if default is MISSING else default,
            default if optional else NOTHING,
        )
    return fields


def kind_of(cls: type[Model], field: Field) -> Kind:
    """What the annotation of ``field`` means; imports the module of a class that it names.

    ``X``, ``X | None``, ``tuple[X, …]`` and ``Mapping[str, X]``, where X is a scalar, ``JSONValue``, the name of a
    class or of a mark (`ociworks.spec._model`), or again one of these.
    """
    return _kind(field.annotation, fields_of(cls).owners[field.attribute])


def _kind(text: str, module: str) -> Kind:
    text = text.removesuffix(" | None")
    if text in _SCALARS:
        return _SCALARS[text]
    if text == "JSONValue":
        return ANY
    if text.startswith("tuple["):
        return Many(_kind(text.removeprefix("tuple[").removesuffix(", ...]"), module))
    if text.startswith("Mapping[str, "):
        return Many(_kind(text.removeprefix("Mapping[str, ").removesuffix("]"), module), named=True)
    return _named(text, module)


def _named(name: str, module: str) -> Kind:
    """A name in an annotation: the module's own, a mark, or a lazy one of its packages."""
    for home in (module, Model.__module__, module.rpartition(".")[0], "ociworks.spec"):
        if home not in sys.modules:
            __import__(home)
        if hasattr(sys.modules[home], name):
            value: Kind = getattr(sys.modules[home], name)
            return value
    raise NameError(f"{name} in an annotation in {module}")
