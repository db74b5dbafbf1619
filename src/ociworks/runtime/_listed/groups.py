"""Operations on control groups, as system calls in a list: enter them, prove it, show them."""

from __future__ import annotations

import os

from ociworks._linux import calls
from ociworks._linux import mount as api
from ociworks.runtime._listed.building import AT_FDCWD, OPEN_HOST, First, NotListed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Final

__all__ = ["OPERATIONS"]

_EXPECTED: Final = calls.SCRATCH
"""What the launcher says of control groups; then, what the kernel does."""
_FOUND: Final = calls.SCRATCH + 0x1000
_TEXT: Final = 0xFFF


def _join_cgroups(here: First, membership: Sequence[tuple[str, str]]) -> None:
    if here.groups >= 0:
        _enter(here)
    elif membership:
        raise NotListed("control groups")
    if not membership:
        return
    if any("/" not in path for _, path in membership):
        raise NotListed("control groups")
    own = here.opens("openat", AT_FDCWD, here.text("/proc/self/cgroup"), os.O_RDONLY | os.O_CLOEXEC)
    here.list.call("read", own, _FOUND, _TEXT)
    here.close(own)
    here.list.call("equal", _FOUND, _EXPECTED + 1, _TEXT, expected=0)


def _enter(here: First) -> None:
    """Wait for the files of the control groups, and for what the kernel is to say once we are in."""
    nothing = here.list.receive(here.groups, _EXPECTED, _TEXT + 1)
    came = here.jump()
    here.list.land(nothing)
    here.list.call("fail")
    here.list.land(came)
    files = here.received(here.tasks)
    here.close(here.groups)
    for fd in files:
        here.list.call("write", fd, here.at(b"0"), 1, expected=1)
        here.close(fd)


def _unshare(here: First, kinds: int) -> None:
    here.list.call("unshare", kinds)


def _cgroup_tree(
    here: First,
    target: str,
    layout: Sequence[tuple[str, str, Sequence[tuple[str, str | None]], str, Sequence[str]]],
    own_namespace: bool,  # noqa: FBT001 - an operation is a flat tuple
    attributes: int,
) -> None:
    place = here.directory(target)
    here.check_place(place, target, covers_proc=False)
    if len(layout) == 1 and not layout[0][0]:
        _hierarchy(here, place, layout[0], attributes, own_namespace=own_namespace)
        here.close(place)
        return
    rest = attributes & ~api.ATTR_RDONLY | api.ATTR_NOSUID | api.ATTR_NODEV | api.ATTR_NOEXEC
    top = here.filesystem("tmpfs", (("source", "tmpfs"), ("mode", "755"), ("size", "1m")), rest)
    for name, _, _, _, links in layout:
        here.list.call("mkdirat", top, here.text(name), 0o755)
        for link in links:
            here.list.call("symlinkat", here.text(name), top, here.text(link))
    if attributes & api.ATTR_RDONLY:
        here.attributes(top, set_=api.ATTR_RDONLY)
    here.attach(top, place)
    for hierarchy in layout:
        inner = here.opens("openat", top, here.text(hierarchy[0]), OPEN_HOST)
        _hierarchy(here, inner, hierarchy, attributes | rest, own_namespace=own_namespace)
        here.close(inner)
    here.close(top, place)


def _hierarchy(
    here: First,
    place: int,
    hierarchy: tuple[str, str, Sequence[tuple[str, str | None]], str, Sequence[str]],
    attributes: int,
    *,
    own_namespace: bool,
) -> None:
    _, fstype, options, host_path, _ = hierarchy
    if own_namespace:
        made = here.filesystem(fstype, (("source", "cgroup"), *options), attributes)
    else:
        made = here.tree(AT_FDCWD, host_path)
        here.attributes(made, set_=attributes, kind=api.MS_PRIVATE)
    here.attach(made, place)
    here.close(made)


OPERATIONS: Final[dict[str, Callable[..., None]]] = {
    "cgroup_tree": _cgroup_tree,
    "join_cgroups": _join_cgroups,
    "unshare": _unshare,
}
"""By the names in a plan."""
