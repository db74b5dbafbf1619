"""What all spec classes share: `Model`, and the types that their fields may have.

A class is frozen, keyword-only, and its annotations say everything the reader needs::

    @frozen(kw_only=True, slots=False, eq=False, repr=False)
    class Mount(Model):
        destination: str                             # no default: the JSON member is required
        options: tuple[str, ...] = ()                # default empty or None: optional, left out when empty
        uid_mappings: tuple[IDMapping, ...] = ()     # uidMappings, by camelCase

Equality, hash and repr are written once here instead of being generated per class: creating an attrs class then
costs a third, and a repr shows only what is set. ``slots=False`` because the reader fills ``__dict__`` at once.
"""

from __future__ import annotations

from ociworks._values import frozen
from ociworks.spec.frozen import FrozenDict, freeze

TYPE_CHECKING = False  # not from typing: commands that start a process each load this
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import ClassVar, TypeAlias

__all__ = [
    "I32",
    "I64",
    "KEYS",
    "U8",
    "U16",
    "U32",
    "U64",
    "Base64",
    "JSONValue",
    "KeySet",
    "Mark",
    "Model",
    "Options",
    "Range",
    "json_name",
    "reading_options",
]

if TYPE_CHECKING:
    JSONValue: TypeAlias = "bool | int | float | str | tuple[JSONValue, ...] | Mapping[str, JSONValue] | None"
else:
    JSONValue = "any"
"""Any JSON, frozen: arrays are tuples, objects are `FrozenDict`."""


class Mark:
    """Says of a field what its type in Python does not; annotations name one, for a type checker that is the type."""

    __slots__ = ()


@frozen
class Range(Mark):
    """The bounds of an integer field, both included, and the name for messages."""

    minimum: int
    maximum: int
    name: str


KEYS = Mark()
"""The mark of `KeySet`."""

if TYPE_CHECKING:
    U8: TypeAlias = int
    U16: TypeAlias = int
    U32: TypeAlias = int
    U64: TypeAlias = int
    I32: TypeAlias = int
    I64: TypeAlias = int
    KeySet: TypeAlias = tuple[str, ...]
    Base64: TypeAlias = bytes
else:
    U8 = Range(0, 2**8 - 1, "uint8")
    U16 = Range(0, 2**16 - 1, "uint16")
    U32 = Range(0, 2**32 - 1, "uint32")
    U64 = Range(0, 2**64 - 1, "uint64")
    I32 = Range(-(2**31), 2**31 - 1, "int32")
    I64 = Range(-(2**63), 2**63 - 1, "int64")
    KeySet = KEYS
    """A JSON object whose values are all ``{}`` (image-spec config.md, ExposedPorts and Volumes), read as its keys."""
    Base64 = Mark()
    """Bytes, which JSON holds in canonical base 64 (RFC 4648, section 4)."""


@frozen
class Options:
    """How a class is read: irregular JSON names, and two leniencies that the image format needs."""

    names: Mapping[str, str] = FrozenDict()
    required: tuple[str, ...] = ()
    strict_case: bool = False
    nulls: bool = False
    forbidden: tuple[str, ...] = ()


_Proxy = type(type.__dict__)  # types.MappingProxyType, without loading types


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Model:
    """A frozen spec value. ``extra`` holds the JSON members that the specification does not name."""

    extra: Mapping[str, JSONValue] = FrozenDict()

    _reading: ClassVar[Options] = Options()

    def __init_subclass__(
        cls,
        *,
        names: Mapping[str, str] | None = None,
        required: tuple[str, ...] = (),
        strict_case: bool = False,
        nulls: bool = False,
        forbidden: tuple[str, ...] = (),
    ) -> None:
        """Say how the class is read.

        ``names``: attribute → JSON name where camelCase does not give it. ``required``: attributes that have a
        default in Python but must be in the JSON. ``strict_case``: refuse members that equal a known name except
        for case. ``nulls``: read null as absent for optional members and as empty for required lists, because Go
        writes it so. ``forbidden``: members that would make the document look like one of another kind.
        """
        super().__init_subclass__()
        cls._reading = Options(FrozenDict(names or {}), required, strict_case, nulls, forbidden)

    def __attrs_post_init__(self) -> None:
        """Freeze lists and dicts that a caller passed, so that no value can change later."""
        state = self.__dict__
        for name, value in state.items():
            if isinstance(value, (list, dict, _Proxy)):
                state[name] = freeze(value)

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((self.__class__, frozenset(self.__dict__.items())))

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}={value!r}"
            for name, value in self.__dict__.items()
            if value is not None and value != () and not (isinstance(value, FrozenDict) and not value)
        )
        return f"{self.__class__.__name__}({shown})"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from ociworks.spec.notebook import fields

        return fields(self)


def reading_options(cls: type[Model]) -> Options:
    """How ``cls`` asked to be read."""
    return cls._reading


def json_name(attribute: str) -> str:
    """The regular JSON name: ``no_new_privileges`` → ``noNewPrivileges``; a final underscore is dropped."""
    head, *rest = attribute.rstrip("_").split("_")
    return head + "".join([part[0].upper() + part[1:] for part in rest])
