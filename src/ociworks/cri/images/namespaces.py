"""For whom a root filesystem is made: the users of a pod with a user namespace."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from ociworks.errors import InvalidRequest
from ociworks.spec.runtime import IDMapping

__all__ = ["UserNamespace"]


@frozen(kw_only=True)
class UserNamespace:
    """The pinned namespace of a pod, and what it maps. Raises InvalidRequest when root is not mapped."""

    path: str
    """Where it is pinned."""
    uids: tuple[IDMapping, ...]
    gids: tuple[IDMapping, ...]

    def __attrs_post_init__(self) -> None:
        for ids in (self.uids, self.gids):
            if _on_host(ids, 0) is None:
                raise InvalidRequest("userns_options: expected mappings with the container's root among them")

    @property
    def root(self) -> tuple[int, int]:
        """User and group of its root on the host."""
        return self.on_host(0, 0)

    def on_host(self, uid: int, gid: int) -> tuple[int, int]:
        """An owner of a file in the image, as the host has it; what is not mapped becomes nobody there."""
        return _or_nobody(_on_host(self.uids, uid)), _or_nobody(_on_host(self.gids, gid))


def _on_host(mappings: Sequence[IDMapping], id: int) -> int | None:
    for each in mappings:
        if each.container_id <= id < each.container_id + each.size:
            return each.host_id + id - each.container_id
    return None


def _or_nobody(id: int | None) -> int:
    return 65534 if id is None else id
