"""`FrozenDict`: a mapping that nobody can change, so that spec values can be shared, hashed and pickled."""

from __future__ import annotations

from _collections_abc import Mapping

TYPE_CHECKING = False  # not from typing, nor all of collections: commands that start a process each load this
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TypeVar, final

    K = TypeVar("K")
    V_co = TypeVar("V_co", covariant=True)
else:
    K = V_co = object
    final = lambda cls: cls  # noqa: E731 - the same, for nobody but type checkers

__all__ = ["FrozenDict", "freeze", "thaw"]


@final
class FrozenDict(Mapping[K, V_co]):
    """A read-only mapping in insertion order, equal to any mapping with the same members."""

    __slots__ = ("_data", "_hash")

    _data: dict[K, V_co]
    _hash: int | None

    def __init__(self, data: Mapping[K, V_co] | Iterable[tuple[K, V_co]] = ()) -> None:
        object.__setattr__(self, "_data", dict(data))
        object.__setattr__(self, "_hash", None)

    def __getitem__(self, key: K) -> V_co:
        return self._data[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __contains__(self, key: object) -> bool:
        return key in self._data

    def __eq__(self, other: object) -> bool:
        if isinstance(other, FrozenDict):
            return self._data == other._data
        if isinstance(other, Mapping):
            return self._data == dict(other)
        return NotImplemented

    def __hash__(self) -> int:
        if self._hash is None:
            object.__setattr__(self, "_hash", hash(frozenset(self._data.items())))
        return self._hash or 0

    def __repr__(self) -> str:
        return f"FrozenDict({self._data!r})"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"FrozenDict is read-only: cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"FrozenDict is read-only: cannot delete {name}")

    def __reduce__(self) -> tuple[type[FrozenDict[K, V_co]], tuple[dict[K, V_co]]]:
        return (FrozenDict, (self._data,))

    def __copy__(self) -> FrozenDict[K, V_co]:
        return self

    def __or__(self, other: Mapping[K, V_co]) -> FrozenDict[K, V_co]:
        return FrozenDict({**self._data, **other})


def freeze(value: object) -> object:
    """Turn lists into tuples and mappings into `FrozenDict`, all the way down."""
    if isinstance(value, (list, tuple)):
        return tuple(freeze(item) for item in value)
    if isinstance(value, Mapping):
        return FrozenDict({key: freeze(item) for key, item in value.items()})
    return value


def thaw(value: object) -> object:
    """Undo `freeze`: plain lists and dicts, for the JSON encoder; ``TypeError`` for a name that is no string."""
    if isinstance(value, (list, tuple)):
        return [thaw(item) for item in value]
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("the names of members are strings")
        return {key: thaw(item) for key, item in value.items()}
    return value
