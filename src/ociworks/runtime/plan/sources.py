"""What the launcher prepares for binds before a container exists, because the container's first process cannot.

Three cases: ids that are mapped need a user namespace, and inside a container's own user namespace the right to map;
and sources that root can reach may be closed to the root of a user namespace. The launcher opens these trees and
namespaces on the host, and the init finds them by number. A source in the container's own root may be what an earlier
mount shows: that is opened by the init, who asks the caller to map it.
"""

from __future__ import annotations

import os

from ociworks.errors import InvalidSpec, NotSupported, Problem
from ociworks.runtime.plan import ops
from ociworks.runtime.plan.namespaces import format_map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from ociworks.runtime.plan.options import MountOptions
    from ociworks.spec.runtime import IDMapping, Mount

__all__ = ["Maps", "Source", "Sources"]

Maps: TypeAlias = tuple[str, str]
"""The maps of uids and gids as the kernel reads them; or ``("", path)``, the file of a user namespace."""
Source: TypeAlias = tuple[str, bool, bool, ops.Attributes, "Maps | None", bool, bool]
"""A tree (path, with all below, through links, attributes, maps, mapped with all below, may be missing); without a
path, a user namespace of these maps alone."""


class Sources:
    """Collects what is asked for while mounts become operations."""

    def __init__(self, container: Maps | None, *, in_user_namespace: bool) -> None:
        """``container`` are the maps of the container's own user namespace."""
        self._container = container
        self._inside = in_user_namespace
        self._asked: list[Source] = []

    @property
    def asked(self) -> tuple[Source, ...]:
        """In the order of their numbers."""
        return tuple(self._asked)

    def give(self, mount: Mount, where: str, path: str, options: MountOptions, *, in_root: bool) -> ops.Given:
        """What the launcher has to prepare for one bind; nothing for most.

        ``in_root``: earlier mounts may show there what is bound, so it is opened when its turn comes.
        """
        maps = self._maps(mount, where, options)
        tree = (path, options.recursive, options.follow, options.bind_attributes)
        if maps is not None:
            _check_may_map(where)
            below = options.idmap == "ridmap"
            if self._inside and not in_root:
                return ("tree", self._ask((*tree, maps, below, False)), False)
            namespace = self._ask(("", False, False, ops.UNCHANGED, maps, False, False))
            return ("ask" if self._inside else "idmap", namespace, below)
        if self._inside and os.geteuid() == 0:
            return ("spare", self._ask((*tree, None, False, True)), False)
        return ops.NOT_GIVEN

    def _ask(self, source: Source) -> int:
        if source[0] or source not in self._asked:
            self._asked.append(source)
            return len(self._asked) - 1
        return self._asked.index(source)

    def _maps(self, mount: Mount, where: str, options: MountOptions) -> Maps | None:
        if mount.uid_mappings and mount.gid_mappings:
            return _formatted(mount.uid_mappings, where, "uid"), _formatted(mount.gid_mappings, where, "gid")
        if not options.idmap:
            return None
        if self._container is None:
            message = (
                f"option {options.idmap} needs uidMappings and gidMappings, or a container's user namespace"
            )
            raise InvalidSpec([Problem(f"{where}.options", message)])
        return self._container


def _formatted(mappings: tuple[IDMapping, ...], where: str, kind: str) -> str:
    return format_map(mappings, f"{where}.{kind}Mappings")


def _check_may_map(where: str) -> None:
    if os.geteuid() != 0:
        raise NotSupported(f"{where}.uidMappings: only root may map the ids of a mount")
