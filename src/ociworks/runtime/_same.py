"""Answers that are kept: by values, and by identity where comparing costs more than working it out again.

``functools.lru_cache`` keeps them too; a command that starts a process each time has no time to load its module.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final, Generic, ParamSpec, Protocol, TypeVar

    T = TypeVar("T")
    P = ParamSpec("P")
    R = TypeVar("R")
    R_co = TypeVar("R_co", covariant=True)

    class Kept(Protocol[P, R_co]):
        """A function that remembers."""

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
        def cache_clear(self) -> None:
            """Forget everything."""

else:
    T = None

    class Generic:
        """Takes the place of typing's."""

        __class_getitem__ = classmethod(lambda cls, _: cls)


__all__ = ["Same", "kept"]

_MISSING: Final = object()


class Same(Generic[T]):
    """A key of what follows from a frozen value: equal only to one of the very same object, which it keeps alive."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value


def kept(most: int) -> Callable[[Callable[P, R]], Kept[P, R]]:
    """Have a function keep its last ``most`` answers; errors are not kept. Any thread may call it."""

    def decorate(function: Callable[P, R]) -> Kept[P, R]:
        answers: dict[object, R] = {}

        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            key = (args, *kwargs.items()) if kwargs else args
            found = answers.get(key, _MISSING)
            if found is not _MISSING:
                return found  # type: ignore[return-value]  # only answers are in there
            value = function(*args, **kwargs)
            while len(answers) >= most:
                answers.pop(next(iter(tuple(answers))), None)
            answers[key] = value
            return value

        call.__doc__, call.__name__, call.__wrapped__ = function.__doc__, function.__name__, function  # type: ignore[attr-defined]
        call.cache_clear = answers.clear  # type: ignore[attr-defined]
        return call  # type: ignore[return-value]

    return decorate
