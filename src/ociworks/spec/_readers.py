"""JSON → spec values, by type: a reader takes plain JSON and its place and returns the value.

A reader never raises for what is in a document; it appends a problem and goes on, so that one walk finds all.
Types are exact: nothing is coerced, a bool is no int, a float is no int.
"""

from __future__ import annotations

from ociworks.errors import Problem, SpecError
from ociworks.spec._model import KEYS, Mark, Model, Options, Range, reading_options
from ociworks.spec._table import EMPTY, Field, Many, kind_of, table
from ociworks.spec._where import Where, render, wrong
from ociworks.spec.frozen import FrozenDict, freeze

TYPE_CHECKING = False  # not from typing: commands that start a process each load this
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Final, TypeAlias, cast

    from ociworks.spec._table import Kind
else:
    cast = lambda _, value: value  # noqa: E731 - the same

__all__ = ["object_reader"]

if TYPE_CHECKING:
    Read: TypeAlias = "Callable[[object, Where, list[Problem]], object]"
    _Slot: TypeAlias = "tuple[str, type | None, Read]"
    """Attribute, the exact type that needs no call (None: always call), and the reader for everything else."""

_SCALARS: Final = (str, bool, int, float)
_object_readers: dict[type[Model], Read] = {}


def object_reader(cls: type[Model]) -> Read:
    """The reader of a class; made once."""
    reader = _object_readers.get(cls)
    if reader is None:
        reader = _object_readers[cls] = _make_object_reader(cls)
    return reader


def _make_object_reader(cls: type[Model]) -> Read:
    # Everything the loop needs is a local: parsing is measured against json.loads.
    fields = table(cls)
    slots: dict[str, _Slot] = {}
    required = [field.attribute for field in fields.values() if field.required]
    defaults = {field.attribute: field.default for field in fields.values() if not field.required}
    defaults["extra"] = EMPTY
    complete = len(defaults) + len(required)
    new, put = object.__new__, object.__setattr__

    def read_object(value: object, where: Where, problems: list[Problem]) -> object:
        if value.__class__ is not dict:
            problems.append(wrong(where, "object", value))
            return None
        members = cast("dict[str, object]", value)
        state = defaults.copy()
        strangers = False
        for name, item in members.items():
            try:
                attribute, exact, read_item = slots[name]
            except KeyError:
                if name not in fields:
                    strangers = True
                    continue
                attribute, exact, read_item = slots[name] = _slot(cls, fields[name])
            state[attribute] = item if item.__class__ is exact else read_item(item, (where, name), problems)
        if len(state) != complete:
            problems.extend(_missing(fields, state, where))
        if strangers:
            unknown = {name: item for name, item in members.items() if name not in fields}
            problems.extend(_unwelcome(cls, unknown, where))
            state["extra"] = freeze(unknown)
        result = new(cls)
        put(result, "__dict__", state)
        return result

    return read_object


def _slot(cls: type[Model], field: Field) -> _Slot:
    exact, read = _reader(kind_of(cls, field))
    if reading_options(cls).nulls:
        if not field.required:
            read = _nullable(read, field.default)
        elif field.annotation.startswith("tuple["):
            read = _nullable(read, ())
    return field.attribute, exact, read


def _nullable(read_item: Read, empty: object) -> Read:
    def read_nullable(value: object, where: Where, problems: list[Problem]) -> object:
        return empty if value is None else read_item(value, where, problems)

    return read_nullable


def _missing(fields: Mapping[str, Field], state: Mapping[str, object], where: Where) -> Iterator[Problem]:
    for name, field in fields.items():
        if field.attribute not in state:
            yield Problem(render((where, name)), "required member is missing")


def _unwelcome(cls: type[Model], unknown: Mapping[str, object], where: Where) -> Iterator[Problem]:
    """Unknown members that other readers would take for something: they compare names without regard to case."""
    options: Options = reading_options(cls)
    known = {name.casefold(): name for name in table(cls)} if options.strict_case else {}
    for name in unknown:
        twin = known.get(name.casefold())
        if twin is not None:
            yield Problem(render((where, name)), f"differs from {twin!r} only by case")
        elif name in options.forbidden:
            yield Problem(render((where, name)), f"does not belong in a {cls.__name__}")


def _reader(kind: Kind) -> tuple[type | None, Read]:
    if isinstance(kind, type):
        return (kind, _scalar_reader(kind)) if kind in _SCALARS else (None, _class_reader(kind))
    if isinstance(kind, Many):
        return None, (_map_reader if kind.named else _list_reader)(*_reader(kind.of))
    if isinstance(kind, Range):
        return None, _range_reader(kind)
    if isinstance(kind, Mark):
        return None, _read_keys if kind is KEYS else _read_base64
    return None, _read_any


def _class_reader(kind: type) -> Read:
    if issubclass(kind, Model):
        return object_reader(kind)
    return _parsed_reader(cast("Callable[[str], object]", kind.parse))  # type: ignore[attr-defined]  # no other kind


def _read_any(value: object, _where: Where, _problems: list[Problem]) -> object:
    return freeze(value)


def _scalar_reader(expected: type) -> Read:
    def read_scalar(value: object, where: Where, problems: list[Problem]) -> object:
        if value.__class__ is not expected and not (expected is float and value.__class__ is int):
            problems.append(wrong(where, expected.__name__, value))
        return value

    return read_scalar


def _range_reader(bounds: Range) -> Read:
    low, high, name = bounds.minimum, bounds.maximum, bounds.name

    def read_integer(value: object, where: Where, problems: list[Problem]) -> object:
        if value.__class__ is not int:
            problems.append(wrong(where, "int", value))
        elif not low <= value <= high:
            problems.append(Problem(render(where), f"expected {name}, got {value}"))
        return value

    return read_integer


def _list_reader(exact: type | None, read_item: Read) -> Read:
    def read_list(value: object, where: Where, problems: list[Problem]) -> object:
        if value.__class__ is not list:
            problems.append(wrong(where, "array", value))
            return ()
        return tuple(
            [
                item if item.__class__ is exact else read_item(item, (where, index), problems)
                for index, item in enumerate(cast("list[object]", value))
            ]
        )

    return read_list


def _map_reader(exact: type | None, read_item: Read) -> Read:
    def read_map(value: object, where: Where, problems: list[Problem]) -> object:
        if value.__class__ is not dict:
            problems.append(wrong(where, "object", value))
            return EMPTY
        return FrozenDict(
            {
                name: item if item.__class__ is exact else read_item(item, (where, name), problems)
                for name, item in cast("dict[str, object]", value).items()
            }
        )

    return read_map


def _read_keys(value: object, where: Where, problems: list[Problem]) -> object:
    if value.__class__ is not dict:
        problems.append(wrong(where, "object", value))
        return ()
    members = cast("dict[str, object]", value)
    problems.extend(wrong((where, name), "{}", item) for name, item in members.items() if item != {})
    return tuple(members)


def _read_base64(value: object, where: Where, problems: list[Problem]) -> object:
    if value.__class__ is not str:
        problems.append(wrong(where, "base64 str", value))
        return None
    import binascii

    text = value
    try:
        content = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        content = b""
    if binascii.b2a_base64(content, newline=False).decode("ascii") != text:
        problems.append(Problem(render(where), "expected canonical base64"))
    return content


def _parsed_reader(parse: Callable[[str], object]) -> Read:
    """Types such as Digest, which are one JSON string: ``parse`` reads it, ``str`` writes it."""

    def read_parsed(value: object, where: Where, problems: list[Problem]) -> object:
        if value.__class__ is not str:
            problems.append(wrong(where, "str", value))
            return None
        try:
            return parse(value)
        except SpecError as error:
            problems.append(Problem(render(where), str(error)))
            return None

    return read_parsed
