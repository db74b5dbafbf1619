"""One table per class: JSON names, attributes, and annotations that are resolved when first met."""

from __future__ import annotations

import builtins
import importlib
import inspect
import sys
from collections.abc import Mapping

import attrs

from ociworks.spec import _model
from ociworks.spec._model import Model, json_name, reading_options
from ociworks.spec.frozen import FrozenDict

__all__ = ["EMPTY", "Field", "resolve", "table"]

EMPTY: FrozenDict[str, object] = FrozenDict()


@attrs.frozen
class Field:
    """A field of a class, as reading and writing need it."""

    attribute: str
    annotation: str
    required: bool
    """Must be in the JSON that is read."""
    default: object
    """`attrs.NOTHING` when it has none."""
    omits: object
    """The empty value that is left out when writing; `attrs.NOTHING` when every value is written."""


_tables: dict[type[Model], dict[str, Field]] = {}


def table(cls: type[Model]) -> dict[str, Field]:
    """The fields of ``cls`` by JSON name, in the order of the specification."""
    known = _tables.get(cls)
    if known is None:
        known = _tables[cls] = _make_table(cls)
    return known


def _make_table(cls: type[Model]) -> dict[str, Field]:
    options = reading_options(cls)
    fields = {}
    for item in attrs.fields(cls):
        if item.name == "extra":
            continue
        required = item.default is attrs.NOTHING or item.name in options.required
        optional = not required and (item.default is None or item.default in ((), EMPTY))
        fields[options.names.get(item.name) or json_name(item.name)] = Field(
            item.name, str(item.type), required, item.default, item.default if optional else attrs.NOTHING
        )
    return fields


def resolve(cls: type[Model], field: Field) -> object:
    """The type that the annotation of ``field`` means; imports the module of a class that it names."""
    owner = next(base for base in cls.__mro__ if field.attribute in inspect.get_annotations(base))
    annotation = field.annotation
    return eval(annotation, {}, _Names(owner.__module__))  # noqa: S307  # source of this package, never input


class _Names(dict[str, object]):
    """Names in annotations: the module's own, then the model types, then the lazy names of its packages."""

    def __init__(self, module: str) -> None:
        super().__init__(vars(sys.modules[module]))
        self._packages = (module.rpartition(".")[0], "ociworks.spec")

    def __missing__(self, name: str) -> object:
        if name == "Mapping":
            return Mapping
        for home in (builtins, _model, *map(importlib.import_module, self._packages)):
            if hasattr(home, name):
                value: object = getattr(home, name)
                return value
        raise NameError(f"{name} in an annotation under {self._packages[0]}")
