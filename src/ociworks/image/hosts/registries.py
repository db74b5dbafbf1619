"""``registries.conf``, version 2 (containers-registries.conf(5)): rules for registries, and short names.

A rule is chosen by the longest prefix of the image's name, on ``/`` boundaries and with the exact port. Reading with a
rule goes to its mirrors in order and at last to its location; the part of the name after the prefix is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, Self

from attrs import evolve, frozen

from ociworks.errors import ShortNameError, SpecError, quote
from ociworks.image.reference import Reference
from ociworks.spec.frozen import FrozenDict

__all__ = ["Mirror", "Place", "RegistriesConf", "Rule", "ShortNameMode", "is_short", "merged"]

ShortNameMode = Literal["enforcing", "permissive", "disabled"]


@frozen
class Place:
    """A registry and perhaps a path in it: ``registry.example:5000/team``."""

    registry: str
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``host[:port][/path]``; raises :class:`~ociworks.errors.SpecError`."""
        registry, _, path = text.rstrip("/").partition("/")
        # A Reference knows what registries and repositories may look like, and their one spelling.
        known = Reference.parse(f"{registry}/{path or 'x/x'}")
        if known.tag is not None or known.digest is not None:
            raise SpecError("expected host[:port][/path] without tag and digest")
        if is_short(f"{registry}/x"):
            raise SpecError(f"expected a host with a dot or a port, or localhost, got {quote(registry)}")
        return cls(known.registry, path)

    def below(self, path: str) -> str:
        """The repository ``path`` below this place."""
        return "/".join(part for part in (self.path, path) if part)

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}" if self.path else self.registry


@frozen(kw_only=True)
class Mirror:
    """Another place for what a rule is about."""

    location: Place
    insecure: bool = False
    pull: Literal["all", "digest-only", "tag-only"] = "all"

    def serves(self, reference: Reference) -> bool:
        """Whether it may be asked for this reference."""
        return self.pull == "all" or (self.pull == "digest-only") == (reference.digest is not None)


@frozen(kw_only=True)
class Rule:
    """One ``[[registry]]``. ``prefix`` is a place, or ``*.example`` for every host below that domain."""

    prefix: Place | str
    location: Place | None = None
    """None: the name stays as it is (only with a wildcard)."""
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()

    @property
    def length(self) -> int:
        """What the longest prefix is measured by."""
        return len(str(self.prefix))

    def match(self, reference: Reference) -> str | None:
        """The rest of the repository after the prefix, None when the rule is about something else."""
        if isinstance(self.prefix, str):
            host = reference.registry.rpartition(":")[0] or reference.registry
            return reference.repository if host.endswith(self.prefix[1:]) else None
        if self.prefix.registry != reference.registry:
            return None
        if not self.prefix.path or reference.repository == self.prefix.path:
            return reference.repository.removeprefix(self.prefix.path)
        head = f"{self.prefix.path}/"
        return reference.repository.removeprefix(head) if reference.repository.startswith(head) else None


@frozen(kw_only=True)
class RegistriesConf:
    """What the files say together. Without any file, a short name means Docker Hub, as it always did."""

    rules: tuple[Rule, ...] = ()
    search: tuple[str, ...] | None = None
    """Registries tried for names without one; None when no file says."""
    mode: ShortNameMode | None = None
    aliases: Mapping[str, str] = FrozenDict()
    """Short name → ``registry/repository``; an empty value takes an alias of an earlier file away."""
    helpers: tuple[str, ...] | None = None
    """``credential-helpers``; ``containers-auth.json`` among them stands for the files."""
    files: tuple[str, ...] = ()

    def then(self, later: RegistriesConf) -> RegistriesConf:
        """Both, where the later file wins: rules by prefix, aliases by name, everything else as a whole."""
        rules = {str(rule.prefix): rule for rule in (*self.rules, *later.rules)}
        return evolve(
            self,
            rules=tuple(rules.values()),
            search=self.search if later.search is None else later.search,
            mode=later.mode or self.mode,
            aliases=FrozenDict({**self.aliases, **later.aliases}),
            helpers=self.helpers if later.helpers is None else later.helpers,
            files=(*self.files, *later.files),
        )

    def rule_for(self, reference: Reference) -> Rule | None:
        """The rule with the longest matching prefix."""
        matching = [rule for rule in self.rules if rule.match(reference) is not None]
        return max(matching, key=lambda rule: rule.length, default=None)

    def resolve(self, name: str) -> tuple[Reference, ...]:
        """What a name may stand for, in the order in which to try; see :meth:`HostsConfig.resolve_short_name`."""
        short, suffix = _split(name)
        if not is_short(short):
            return (Reference.parse(name),)
        if alias := self.aliases.get(short):
            return (Reference.parse(alias + suffix),)
        return self._searched(name)

    def _searched(self, name: str) -> tuple[Reference, ...]:
        search = self.search if self.search is not None or self.files else _HUB
        found = tuple(Reference.parse(name, default_registry=registry) for registry in search or ())
        if not found or (len(found) > 1 and self.mode == "enforcing"):
            Reference.parse(name)  # what is no name at all should be told so
            raise ShortNameError(name, [str(reference) for reference in found])
        return found


_HUB: Final = ("docker.io",)


def is_short(name: str) -> bool:
    """Whether a name (without tag and digest) has no registry."""
    first, slash, _ = name.partition("/")
    return not (slash and (first.lower() == "localhost" or any(mark in first for mark in ".:")))


def _split(name: str) -> tuple[str, str]:
    """A name and its tag and digest."""
    rest = name.partition("@")[0]
    colon = rest.rfind(":")
    end = colon if colon > rest.rfind("/") else len(rest)
    return name[:end], name[end:]


def merged(confs: Iterable[RegistriesConf]) -> RegistriesConf:
    """All of them, the last one winning."""
    result = RegistriesConf()
    for conf in confs:
        result = result.then(conf)
    return result
