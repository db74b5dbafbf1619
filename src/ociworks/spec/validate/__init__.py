"""`validate`: the rules that the prose of the specifications states and a schema cannot.

One file per concern, named as the file of the classes it judges. Each has ``RULES``: class name → function that
takes a value and its JSON path and yields a `Problem` for each broken rule, citing the section. `validate` visits
every object in a value, so a rule of `Mount` is applied wherever mounts are, and rules between objects belong to
the class that holds both.

For the runtime: ``config`` (also what depends on the platform), ``process``, ``mounts``, ``hooks``, ``linux``,
``devices``, ``resources``, ``seccomp``, ``state``, ``features``, ``platforms`` and ``_checks`` (checks that they
share). For images and their neighbours: ``image`` (descriptors, manifests, indexes, layouts, platforms; `pair` judges a
manifest and its configuration together), ``image_config``, ``distribution``, ``cni``, ``cdi``, and ``_common``
(checks that they share).
"""

from __future__ import annotations

import sys
from _collections_abc import Mapping

from ociworks.errors import Problem, SpecError
from ociworks.spec import _convert
from ociworks.spec._model import Model
from ociworks.spec._where import member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType
    from typing import TypeAlias

    Rule: TypeAlias = Callable[..., Iterator[Problem]]
else:
    ModuleType = type(sys)

__all__ = ["broken_rules", "validate"]

_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})

_RULES = {
    "ociworks.spec.cdi": "ociworks.spec.validate.cdi",
    "ociworks.spec.cni": "ociworks.spec.validate.cni",
    "ociworks.spec.distribution": "ociworks.spec.validate.distribution",
    "ociworks.spec.image.config": "ociworks.spec.validate.image_config",
    "ociworks.spec.image.descriptor": "ociworks.spec.validate.image",
    "ociworks.spec.image.index": "ociworks.spec.validate.image",
    "ociworks.spec.image.layout": "ociworks.spec.validate.image",
    "ociworks.spec.image.manifest": "ociworks.spec.validate.image",
    "ociworks.spec.platform": "ociworks.spec.validate.image",
    "ociworks.spec.runtime.config": "ociworks.spec.validate.config",
    "ociworks.spec.runtime.devices": "ociworks.spec.validate.devices",
    "ociworks.spec.runtime.features": "ociworks.spec.validate.features",
    "ociworks.spec.runtime.freebsd": "ociworks.spec.validate.platforms",
    "ociworks.spec.runtime.hooks": "ociworks.spec.validate.hooks",
    "ociworks.spec.runtime.linux": "ociworks.spec.validate.linux",
    "ociworks.spec.runtime.mounts": "ociworks.spec.validate.mounts",
    "ociworks.spec.runtime.process": "ociworks.spec.validate.process",
    "ociworks.spec.runtime.resources": "ociworks.spec.validate.resources",
    "ociworks.spec.runtime.seccomp": "ociworks.spec.validate.seccomp",
    "ociworks.spec.runtime.state": "ociworks.spec.validate.state",
    "ociworks.spec.runtime.vm": "ociworks.spec.validate.platforms",
    "ociworks.spec.runtime.windows": "ociworks.spec.validate.platforms",
    "ociworks.spec.runtime.zos": "ociworks.spec.validate.platforms",
}
"""Module of classes → module of rules, loaded when a value of such a class is met."""


def validate(value: Model) -> list[Problem]:
    """All problems of ``value``, those of an object before those in it; empty when it follows its specification.

    A value that was not parsed but built is checked for the types of its fields first; only when these are right
    are the rules applied.
    """
    return _shape(value) or broken_rules(value)


def broken_rules(value: Model) -> list[Problem]:
    """The problems of a value that was parsed: its fields are of the right types."""
    return list(_walk(value, "$"))


def _shape(value: Model) -> list[Problem]:
    try:
        return _convert.problems(type(value), _convert.write(value))
    except SpecError as error:
        return [Problem("$", str(error))]


def _walk(value: Model, at: str) -> Iterator[Problem]:
    rules, fields = _plan(type(value))
    for rule in rules:
        yield from rule(value, at)
    for attribute, suffix in fields:
        item = getattr(value, attribute)
        if item.__class__ not in _SCALARS:
            yield from _walk_item(item, at + suffix)


def _walk_item(item: object, at: str) -> Iterator[Problem]:
    if isinstance(item, Model):
        yield from _walk(item, at)
    elif isinstance(item, tuple):
        for index, part in enumerate(item):
            if part.__class__ not in _SCALARS:
                yield from _walk_item(part, f"{at}[{index}]")
    elif isinstance(item, Mapping):
        for key, part in item.items():
            if part.__class__ not in _SCALARS:
                yield from _walk_item(part, at + member(key))


_PLANS: dict[type, tuple[tuple[Rule, ...], tuple[tuple[str, str], ...]]] = {}


def _plan(cls: type[Model]) -> tuple[tuple[Rule, ...], tuple[tuple[str, str], ...]]:
    """The rules of a class and its bases, and its attributes with what they add to a JSON path."""
    plan = _PLANS.get(cls)
    if plan is None:
        found = [_rules(base.__module__).get(base.__name__) for base in cls.__mro__]
        names = _convert.field_names(cls)
        plan = _PLANS[cls] = (
            tuple(rule for rule in found if rule is not None),
            tuple((attribute, member(name)) for name, attribute in names.items()),
        )
    return plan


def _rules(module: str) -> Mapping[str, Rule]:
    if module not in _RULES:
        return {}
    __import__(_RULES[module])
    rules: Mapping[str, Rule] = sys.modules[_RULES[module]].RULES
    return rules


class _Callable(ModuleType):
    """Importing a file of rules makes ``spec.validate`` this package, not the function: both can be called."""

    def __call__(self, value: Model) -> list[Problem]:
        return validate(value)


sys.modules[__name__].__class__ = _Callable
