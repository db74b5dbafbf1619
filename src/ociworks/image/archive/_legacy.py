"""What Docker wrote before version 1.10: images as chains of layers, each with a configuration of its own.

::

    repositories      {"app": {"1.4": "<id of the last layer>"}}
    <id>/json         {"id": "<id>", "parent": "<id>", "config": {…}, "architecture": "amd64", "os": "linux", …}
    <id>/layer.tar

An image's configuration is made of the last layer's: the same run parameters, the diff IDs of the chain, a history.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from ociworks._values import frozen
from ociworks.errors import ArchiveError, SpecError, quote
from ociworks.image import partial
from ociworks.spec import Digest, Model, parse, to_json
from ociworks.spec.image import Config, History, ImageConfiguration, RootFS

if TYPE_CHECKING:
    from ociworks.image.archive._members import Members

__all__ = ["REPOSITORIES", "LegacyImage", "images"]

REPOSITORIES: Final = "repositories"
_MAX_LAYERS: Final = 1000
_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)

M = TypeVar("M", bound=Model)


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class _Repositories(Model):
    repositories: Mapping[str, Mapping[str, str]]


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class _Layer(Model, names={"container_config": "container_config"}, strict_case=True, nulls=True):
    parent: str | None = None
    created: str | None = None
    author: str | None = None
    comment: str | None = None
    architecture: str = "amd64"
    os: str = "linux"
    config: Config | None = None
    container_config: Config | None = None


class LegacyImage(NamedTuple):
    """An image, as the newer format would say it."""

    raw_config: bytes
    layers: tuple[str, ...]
    tags: tuple[str, ...]


def images(members: Members, digest_of: Callable[[str], Digest]) -> Iterator[LegacyImage]:
    """The images of ``repositories``; ``digest_of`` hashes a file. Raises :class:`~ociworks.errors.ArchiveError`."""
    raw = members.read(members.need(REPOSITORIES), partial.MAX_DOCUMENT)
    named: dict[str, list[str]] = {}
    found = _parsed(_Repositories, b'{"repositories":' + raw + b"}", members, REPOSITORIES)
    if found.extra:
        raise ArchiveError(f"{quote(members.path)}: {REPOSITORIES}: expected one object")
    for name, tags in found.repositories.items():
        for tag, identity in tags.items():
            named.setdefault(identity, []).append(f"{name}:{tag}")
    for identity, tags_of in named.items():
        chain = _chain(members, identity)
        names = tuple(f"{each}/layer.tar" for each, _ in chain)
        config = _configuration([layer for _, layer in chain], tuple(map(digest_of, names)))
        yield LegacyImage(to_json(config), names, tuple(tags_of))


def _chain(members: Members, identity: str) -> list[tuple[str, _Layer]]:
    """The layers of an image, base first."""
    chain: list[tuple[str, _Layer]] = []
    seen: set[str] = set()
    following: str | None = identity
    while following:
        if _ID.fullmatch(following) is None or following in seen or len(seen) == _MAX_LAYERS:
            raise ArchiveError(
                f"{quote(members.path)}: image {quote(identity)}: expected a chain of at most {_MAX_LAYERS} layers "
                f"that are named by 64 hex digits, found {quote(following)}"
            )
        seen.add(following)
        name = f"{following}/json"
        raw = members.read(members.need(name), partial.MAX_DOCUMENT)
        layer = _parsed(_Layer, raw, members, name)
        chain.append((following, layer))
        following = layer.parent
    return chain[::-1]


def _configuration(layers: list[_Layer], diff_ids: tuple[Digest, ...]) -> ImageConfiguration:
    last = layers[-1]
    return ImageConfiguration(
        created=last.created,
        author=last.author,
        architecture=last.architecture,
        os=last.os,
        config=last.config,
        rootfs=RootFS(type="layers", diff_ids=diff_ids),
        history=tuple(
            History(
                created=layer.created,
                author=layer.author,
                comment=layer.comment,
                created_by=" ".join(layer.container_config.cmd) if layer.container_config else None,
            )
            for layer in layers
        ),
    )


def _parsed(cls: type[M], raw: bytes, members: Members, name: str) -> M:
    try:
        return parse(cls, raw, max_size=partial.MAX_DOCUMENT + 32)
    except SpecError as error:
        raise ArchiveError(f"{quote(members.path)}: {name}: {error}") from None
