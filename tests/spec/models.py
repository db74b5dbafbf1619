"""Every spec class there is, and ways to make values and documents of them from their declarations alone."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from hypothesis import strategies as st

from ociworks import spec
from ociworks.spec import cdi, cni, distribution, image, runtime
from ociworks.spec._model import KEYS, JSONValue, Mark, Model, Range
from ociworks.spec._table import Field, Many, kind_of, table
from ociworks.spec.digest import Digest
from ociworks.spec.frozen import FrozenDict

if TYPE_CHECKING:
    from ociworks.spec._table import Kind

__all__ = ["CLASSES", "field_type", "fields", "inner", "minimal", "values"]

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
ANY: st.SearchStrategy[object] = st.recursive(
    _SCALARS | TEXT,
    lambda inside: (
        st.lists(inside, max_size=2).map(tuple) | st.dictionaries(TEXT, inside, max_size=2).map(FrozenDict)
    ),
    max_leaves=4,
)


def _classes() -> Iterator[type[Model]]:
    for home in (runtime, image, distribution, cni, cdi, spec):
        for name in home.__all__:
            member = getattr(home, name)
            if isinstance(member, type) and issubclass(member, Model) and member is not Model:
                yield member


CLASSES: list[type[Model]] = list(dict.fromkeys(_classes()))


def fields(cls: type[Model]) -> dict[str, Field]:
    """The fields by JSON name."""
    return table(cls)


def field_type(cls: type[Model], field: Field) -> object:
    """What the annotation says, without ``| None``, in the terms of typing."""
    return _as_type(kind_of(cls, field))


def _as_type(kind: Kind) -> object:
    if isinstance(kind, Range):
        return Annotated[int, kind]
    if isinstance(kind, Mark):
        return Annotated[tuple[str, ...], "keys"] if kind is KEYS else Annotated[bytes, "base64"]
    if not isinstance(kind, Many):
        return kind
    item: Any = _as_type(kind.of)
    return Mapping[str, item] if kind.named else tuple[item, ...]


def inner(tp: object) -> object:
    """Without ``| None``; JSON of any kind stays as it is."""
    if tp != JSONValue and get_origin(tp) in (Union, types.UnionType):
        (tp,) = (argument for argument in get_args(tp) if argument is not type(None))
    return tp


def values(cls: type[Model], depth: int = 0) -> st.SearchStrategy[Model]:
    """Values of ``cls`` with any legal contents, unknown members included."""

    def build(chosen: dict[str, object], extra: dict[str, object]) -> Model:
        return cls(**chosen, extra=FrozenDict(extra))  # type: ignore[arg-type]

    required, optional = {}, {}
    for field in fields(cls).values():
        made = _of_type(field_type(cls, field), depth)
        if field.required:
            required[field.attribute] = made
        elif made is not None:
            optional[field.attribute] = made
    known = {name.casefold() for name in fields(cls)} | {
        "fslayers",
        "history",
        "signatures",
        "manifests",
        "layers",
    }
    extra = st.dictionaries(
        TEXT.filter(lambda name: name.casefold() not in known | {"config"}), ANY, max_size=2
    )
    return st.builds(build, st.fixed_dictionaries(required, optional=optional), extra)  # type: ignore[arg-type]


def _of_type(tp: object, depth: int) -> st.SearchStrategy[object] | None:
    """A strategy for a field; None for an optional object that would nest too deeply."""
    simple: dict[object, st.SearchStrategy[object]] = {
        str: TEXT,
        bool: st.booleans(),
        int: st.integers(-(2**63), 2**64 - 1),
        float: st.floats(allow_nan=False, allow_infinity=False),
        Digest: st.binary(max_size=3).map(Digest.of),
    }
    if tp == JSONValue:
        return ANY
    if isinstance(tp, type) and issubclass(tp, Model):
        return values(tp, depth + 1) if depth < 6 else None
    if tp in simple:
        return simple[tp]
    return _composed(tp, depth)


def _composed(tp: object, depth: int) -> st.SearchStrategy[object] | None:
    origin, arguments = get_origin(tp), get_args(tp)
    if origin is Annotated:
        mark = arguments[1]
        if isinstance(mark, Range):
            return st.integers(mark.minimum, mark.maximum)
        return (
            st.binary(max_size=4) if mark == "base64" else st.lists(TEXT, max_size=2, unique=True).map(tuple)
        )
    item = _of_type(inner(arguments[-1] if origin is Mapping else arguments[0]), depth)
    if item is None:
        return None
    if origin is Mapping:
        return st.dictionaries(TEXT, item, max_size=2).map(FrozenDict)
    return st.lists(item, max_size=2).map(tuple)


def minimal(tp: object) -> object:
    """The smallest plain JSON of a type."""
    if isinstance(tp, type) and issubclass(tp, Model):
        return {name: minimal(field_type(tp, field)) for name, field in fields(tp).items() if field.required}
    plain: dict[object, object] = {str: "a", bool: True, int: 1, float: 1.5, Digest: str(Digest.of(b""))}
    if tp in plain:
        return plain[tp]
    origin, arguments = get_origin(tp), get_args(tp)
    if origin is Annotated:
        mark = arguments[1]
        return max(mark.minimum, 0) if isinstance(mark, Range) else "" if mark == "base64" else {}
    return {} if origin is Mapping or tp == JSONValue else []
