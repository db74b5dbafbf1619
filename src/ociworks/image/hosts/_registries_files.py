"""Reading ``registries.conf``, its drop-ins and the file of recorded aliases.

::

    main file        $CONTAINERS_REGISTRIES_CONF, else ~/.config/containers/registries.conf, else
                     /etc/containers/registries.conf
    drop-ins         /etc/containers/registries.conf.d/*.conf (not when the user's main file was read), then
                     ~/.config/containers/registries.conf.d/*.conf; each in the order of names
    aliases          short-name-aliases.conf in /var/cache/containers (root) or ~/.cache/containers
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Final

from ociworks.errors import HostsConfigError, InvalidReference, SpecError, quote
from ociworks.image.hosts import _toml
from ociworks.image.hosts.registries import (
    Mirror,
    Place,
    RegistriesConf,
    Rule,
    ShortNameMode,
    is_short,
    merged,
)
from ociworks.image.origin import canonical_host
from ociworks.image.reference import Reference
from ociworks.spec.frozen import FrozenDict

__all__ = ["find", "load", "parse"]

_logger = logging.getLogger(__name__)

_SYSTEM: Final = "/etc/containers/registries.conf"
_MAX_DROP_INS: Final = 256
_MODES: Final[Mapping[str, ShortNameMode]] = {
    "enforcing": "enforcing", "permissive": "permissive", "disabled": "disabled",
}  # fmt: skip


def find(environ: Mapping[str, str], home: str, *, root: bool) -> RegistriesConf:
    """Read what this user's tools would read; raises :class:`~ociworks.errors.HostsConfigError`."""
    own = os.path.join(home, ".config/containers/registries.conf")
    chosen = environ.get("CONTAINERS_REGISTRIES_CONF")
    main = chosen or (own if os.path.exists(own) else _SYSTEM)
    folders = [f"{own}.d"] if main == own else [f"{_SYSTEM}.d", f"{own}.d"]
    cache = "/var/cache" if root else environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    files = [main, *(file for folder in folders for file in _drop_ins(folder))]
    recorded = _aliases_only(os.path.join(cache, "containers/short-name-aliases.conf"))
    return load(files, required=main if chosen else None).then(recorded)


def load(files: Sequence[str], *, required: str | None = None) -> RegistriesConf:
    """Read files, the last one winning; those that are missing say nothing, but for ``required``."""
    found = []
    for file in files:
        raw = _toml.read_regular(file)
        if raw is not None:
            found.append(parse(file, raw))
        elif file == required:
            raise HostsConfigError(file, "", "expected a file, because CONTAINERS_REGISTRIES_CONF names it")
    return merged(found)


def parse(file: str, raw: bytes) -> RegistriesConf:
    """Read one file; raises :class:`~ociworks.errors.HostsConfigError`."""
    table = _toml.parse(file, raw)
    if type(table.raw("registries")) is dict:
        raise table.error("registries", "expected version 2 ([[registry]]), got version 1; convert the file")
    rules = tuple(_rule(each) for each in table.tables("registry"))
    _check_conflicts(table, rules)
    conf = RegistriesConf(
        rules=_first_of_each_prefix(rules),
        search=_search(table),
        mode=_mode(table),
        aliases=_aliases(table),
        helpers=table.texts("credential-helpers"),
        files=(file,),
    )
    _mention_unread(table)
    return conf


def _aliases_only(file: str) -> RegistriesConf:
    """What was recorded by a tool decides about aliases and nothing else."""
    table = _toml.load(file)
    return RegistriesConf() if table is None else RegistriesConf(aliases=_aliases(table))


def _drop_ins(folder: str) -> list[str]:
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".conf"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise HostsConfigError(folder, "", f"cannot be read: {error.strerror}") from None
    if len(names) > _MAX_DROP_INS:
        raise HostsConfigError(folder, "", f"expected at most {_MAX_DROP_INS} files, got {len(names)}")
    paths = (os.path.join(folder, name) for name in names)
    return [path for path in paths if not os.path.isdir(path)]


def _rule(table: _toml.Table) -> Rule:
    """A ``[[registry]]``."""
    prefix_text, location_text = table.text("prefix"), table.text("location")
    if not prefix_text and not location_text:
        raise table.error("prefix", "expected a prefix or a location")
    prefix = _prefix(table, prefix_text) if prefix_text else None
    location = table.checked("location", Place.parse, location_text) if location_text else None
    by_digest = table.flag("mirror-by-digest-only")
    if table.raw("pull-from-mirror") is not None:
        raise table.error("pull-from-mirror", "expected in [[registry.mirror]] only")
    if location is None and not isinstance(prefix, str):
        raise table.error(
            "location", 'expected host[:port][/path] (it may be missing only beside prefix = "*.…")'
        )
    chosen = prefix or location
    if chosen is None:
        raise table.error("prefix", "expected a prefix or a location")
    rule = Rule(
        prefix=chosen,
        location=location,
        insecure=table.flag("insecure"),
        blocked=table.flag("blocked"),
        mirrors=tuple(_mirror(each, by_digest=by_digest) for each in table.tables("mirror")),
    )
    _mention_unread(table)
    return rule


def _prefix(table: _toml.Table, text: str) -> Place | str:
    if not text.startswith("*."):
        return table.checked("prefix", Place.parse, text)
    try:
        return f"*.{canonical_host(text[2:])}"
    except SpecError:
        raise table.error("prefix", f"expected a wildcard such as *.example.com, got {quote(text)}") from None


def _mirror(table: _toml.Table, *, by_digest: bool) -> Mirror:
    text = table.text("location")
    if not text:
        raise table.error("location", "expected host[:port][/path]")
    pull = table.text("pull-from-mirror") or ("digest-only" if by_digest else "all")
    if by_digest and table.text("pull-from-mirror"):
        raise table.error("pull-from-mirror", "expected to be missing beside mirror-by-digest-only = true")
    if pull not in {"all", "digest-only", "tag-only"}:
        raise table.error("pull-from-mirror", f"expected all, digest-only or tag-only, got {quote(pull)}")
    location = table.checked("location", Place.parse, text)
    mirror = Mirror(
        location=location,
        insecure=table.flag("insecure"),
        pull="all" if pull == "all" else "digest-only" if pull == "digest-only" else "tag-only",
    )
    _mention_unread(table)
    return mirror


def _check_conflicts(table: _toml.Table, rules: Sequence[Rule]) -> None:
    """One location must not be secure here and insecure there, nor blocked and open."""
    seen: dict[str, Rule] = {}
    for index, rule in enumerate(rules):
        other = seen.setdefault(str(rule.location or rule.prefix), rule)
        for name, differs in [
            ("insecure", rule.insecure != other.insecure),
            ("blocked", rule.blocked != other.blocked),
        ]:
            if differs:
                raise table.error(
                    f"registry[{index}].{name}", "expected the same as for this location before"
                )


def _first_of_each_prefix(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    found: dict[str, Rule] = {}
    for rule in rules:
        found.setdefault(str(rule.prefix), rule)
    return tuple(found.values())


def _search(table: _toml.Table) -> tuple[str, ...] | None:
    texts = table.texts("unqualified-search-registries")
    if texts is None:
        return None
    places = [
        table.checked(f"unqualified-search-registries[{i}]", Place.parse, text)
        for i, text in enumerate(texts)
    ]
    for index, place in enumerate(places):
        if place.path:
            raise table.error(
                f"unqualified-search-registries[{index}]", "expected host[:port] without a path"
            )
    return tuple(place.registry for place in places)


def _mode(table: _toml.Table) -> ShortNameMode | None:
    text = table.text("short-name-mode")
    if not text:
        return None
    if text not in _MODES:
        raise table.error("short-name-mode", f"expected enforcing, permissive or disabled, got {quote(text)}")
    return _MODES[text]


def _aliases(table: _toml.Table) -> Mapping[str, str]:
    inner = table.table("aliases")
    return FrozenDict({name: _alias(inner, name) for name in inner.names()})


def _alias(table: _toml.Table, name: str) -> str:
    value = table.text(name) or ""
    try:
        key = Reference.parse(name)
        known = Reference.parse(value) if value else None
    except InvalidReference as error:
        raise table.error(name, str(error)) from None
    if not is_short(name) or key.tag is not None or key.digest is not None:
        raise table.error(name, "expected a name without registry, tag and digest")
    if known is not None and (is_short(value) or known.tag is not None or known.digest is not None):
        raise table.error(name, f"expected registry/repository without tag and digest, got {quote(value)}")
    return known.name if known else ""


def _mention_unread(table: _toml.Table) -> None:
    for key in table.unread():
        _logger.warning("%s: %s is not known here and says nothing", quote(table.file), quote(key))
