"""`frozen`: what ``attrs.frozen`` gives, without the milliseconds that generating the code of a class takes.

A command that starts a process each time cannot afford attrs: importing it and making eighty classes with it takes
longer than ``runc create`` as a whole. The classes that a command needs are made by this instead. For a type checker,
and for whoever looks with ``attrs.fields``, ``attrs.evolve``, ``attrs.asdict`` or ``inspect.signature``, they are attrs
classes: these answers are worked out, by attrs itself, when somebody first asks.

Of the options of attrs there are those that are used: defaults, ``kw_only``, ``eq`` and ``repr``; no ``field``,
converters or validators. An instance keeps its values in ``__dict__``, in the order of the fields.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

__all__ = ["MISSING", "Fields", "evolve", "fields_of", "frozen"]


class _Missing:
    """Stands where a field has no default."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()

_put = object.__setattr__


class Fields:
    """The fields of one class, in order: annotations (as written) and defaults by name."""

    __slots__ = ("annotations", "defaults", "kw_only", "names", "owners", "required")

    def __init__(
        self,
        annotations: dict[str, str],
        defaults: dict[str, object],
        owners: dict[str, str],
        *,
        kw_only: bool,
    ) -> None:
        self.annotations = annotations
        self.defaults = defaults
        """MISSING for those that must be given."""
        self.owners = owners
        """The module of the class that has each, where the names in its annotation mean something."""
        self.names = tuple(annotations)
        self.required = tuple(name for name in annotations if defaults[name] is MISSING)
        self.kw_only = kw_only


def fields_of(cls: type) -> Fields:
    """The fields of a class that `frozen` made."""
    found: Fields = cls.__dict__["__light_fields__"]
    return found


def _frozen(
    cls: type | None = None, *, kw_only: bool = False, slots: bool = False, eq: bool = True, repr: bool = True
) -> Any:  # noqa: ANN401 - a class or a decorator
    if cls is None:
        return lambda cls: _frozen(cls, kw_only=kw_only, slots=slots, eq=eq, repr=repr)
    found = _collect(cls, kw_only=kw_only)
    methods: dict[str, Any] = {
        "__light_fields__": found,
        "__attrs_attrs__": _ATTRIBUTES,
        "__signature__": _SIGNATURE,
        "__match_args__": () if kw_only else found.names,
        "__init__": _initialiser(cls.__name__, found, getattr(cls, "__attrs_post_init__", None)),
        "__setattr__": _refuse_set,
        "__delattr__": _refuse_delete,
        "__replace__": _evolve,
    }
    if eq:
        methods |= {"__eq__": _equal, "__hash__": _hash}
    if repr:
        methods["__repr__"] = _repr
    for name, value in methods.items():
        setattr(cls, name, value)
    return cls


def _collect(cls: type, *, kw_only: bool) -> Fields:
    """Inherited fields first, then those of the class itself, whose defaults it loses."""
    annotations: dict[str, str] = {}
    defaults: dict[str, object] = {}
    owners: dict[str, str] = {}
    for base in reversed(cls.__mro__[1:-1]):
        inherited = base.__dict__.get("__light_fields__")
        if inherited is not None:
            annotations |= inherited.annotations
            defaults |= inherited.defaults
            owners |= inherited.owners
    for name, annotation in cls.__dict__.get("__annotations__", {}).items():  # noqa: RUF063 - inspect is what is not to be loaded
        if annotation.startswith("ClassVar"):
            continue
        annotations.pop(name, None)
        annotations[name] = annotation
        defaults[name] = cls.__dict__.get(name, MISSING)
        owners[name] = cls.__module__
        if defaults[name] is not MISSING:
            delattr(cls, name)
    return Fields(annotations, {name: defaults[name] for name in annotations}, owners, kw_only=kw_only)


def _initialiser(title: str, found: Fields, finish: Callable[[Any], None] | None) -> Callable[..., None]:
    template, names, required, kw_only = found.defaults, found.names, found.required, found.kw_only
    count = len(template)

    def initialise(self: object, *positional: object, **given: object) -> None:
        state = template.copy()
        if positional:
            if kw_only or len(positional) > count:
                raise TypeError(f"{title}() takes fewer positional arguments than {len(positional)}")
            for name, value in zip(names, positional, strict=False):
                if name in given:
                    raise TypeError(f"{title}() got multiple values for argument {name!r}")
                state[name] = value
        state.update(given)
        if len(state) != count:
            unknown = next(name for name in given if name not in template)
            raise TypeError(f"{title}() got an unexpected keyword argument {unknown!r}")
        for name in required:
            if state[name] is MISSING:
                raise TypeError(f"{title}() missing a required argument: {name!r}")
        _put(self, "__dict__", state)
        if finish is not None:
            finish(self)

    initialise.__name__, initialise.__qualname__ = "__init__", f"{title}.__init__"
    return initialise


def _refuse_set(self: object, name: str, value: object) -> None:  # noqa: ARG001 - the signature is Python's
    from attrs.exceptions import FrozenInstanceError

    raise FrozenInstanceError


def _refuse_delete(self: object, name: str) -> None:  # noqa: ARG001 - the signature is Python's
    from attrs.exceptions import FrozenInstanceError

    raise FrozenInstanceError


def _equal(self: object, other: object) -> bool:
    if other.__class__ is not self.__class__:
        return NotImplemented  # type: ignore[no-any-return]  # as Python has it
    same: bool = self.__dict__ == other.__dict__
    return same


def _hash(self: object) -> int:
    return hash((self.__class__, *self.__dict__.values()))


def _repr(self: object) -> str:
    shown = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
    return f"{self.__class__.__qualname__.rpartition('>.')[2]}({shown})"


def _evolve(value: object, **changes: object) -> object:
    """Another value of the same class, with ``changes``."""
    cls = value.__class__
    if "__light_fields__" not in cls.__dict__:
        import attrs

        changed: object = attrs.evolve(value, **changes)  # type: ignore[misc]  # whatever it is
        return changed
    again: object = cls(**{**value.__dict__, **changes})
    return again


class _Asked:
    """An attribute of a class that is worked out when it is first asked for."""

    def __init__(self, name: str, answer: Callable[[type], object]) -> None:
        self._name, self._answer = name, answer

    def __get__(self, instance: object, owner: type) -> object:
        if "__light_fields__" not in owner.__dict__:  # a subclass that nobody decorated
            owner = next(base for base in owner.__mro__ if "__light_fields__" in base.__dict__)
        value = self._answer(owner)
        setattr(owner, self._name, value)
        return value


def _twin(cls: type) -> type:
    """A class by attrs with the same fields."""
    import attrs

    found = fields_of(cls)
    body: dict[str, object] = {"__annotations__": found.annotations, "__module__": cls.__module__}
    body |= {name: value for name, value in found.defaults.items() if value is not MISSING}
    made: type = attrs.frozen(type(cls.__name__, (), body), kw_only=found.kw_only, slots=False)
    return made


def _attributes(cls: type) -> object:
    import attrs

    return attrs.fields(_twin(cls))


def _signature(cls: type) -> object:
    import inspect

    return inspect.signature(_twin(cls))


_ATTRIBUTES: Final = _Asked("__attrs_attrs__", _attributes)
_SIGNATURE: Final = _Asked("__signature__", _signature)

if TYPE_CHECKING:
    from attrs import evolve, frozen
else:
    frozen = _frozen
    evolve = _evolve
