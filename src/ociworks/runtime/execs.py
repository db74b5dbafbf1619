"""How a further process of a running container is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import attrs
from attrs import field, frozen

from ociworks.errors import InvalidSpec, Problem, quote
from ociworks.runtime.options import RunOptions, check_passed
from ociworks.spec import FrozenDict
from ociworks.spec.runtime import Box, Capabilities, Process, User

__all__ = ["ExecOptions"]

T = TypeVar("T")


@frozen(kw_only=True)
class ExecOptions:
    """How an exec differs from the container's own process. InvalidSpec for values that make no sense.

    What is not given is as in the container's configuration, except for the terminal: an exec has one when asked.
    """

    user: str | User | None = None
    """``name``, ``uid``, ``name:group`` or ``uid:gid``, by the container's own ``/etc/passwd`` and ``/etc/group``
    (:func:`ociworks.spec.users.resolve_user`); or numbers that need no look-up.
    """
    additional_gids: tuple[int, ...] = ()
    """Beside those of the user."""
    cwd: str | None = None
    """Absolute, inside the container."""
    env: Mapping[str, str] = field(factory=FrozenDict)
    """Beside the configuration's variables; the same name replaces."""
    capabilities: tuple[str, ...] = ()
    """Beside the configuration's, as ``CAP_NET_RAW``: bounding, effective and permitted, also where the container's own
    process does not have them.
    """
    terminal: bool = False
    console_size: tuple[int, int] | None = None
    """Width and height in characters."""
    no_new_privileges: bool | None = None
    apparmor_profile: str | None = None
    selinux_label: str | None = None
    pass_fds: tuple[int, ...] = ()
    """Descriptors of the caller's that become 3, 4, … of the program; they stay open here."""
    listen_fds: int = 0
    """How many of them, from the first, are announced as sockets (sd_listen_fds(3))."""
    new_keyring: bool = True
    """Whether it gets a session keyring of its own; without one it has the caller's keys."""
    home: bool = False
    """Whether a program without ``HOME`` gets its user's of the container's ``/etc/passwd``, or ``/``."""
    detach: bool = False
    """It outlives this Runtime and its process; whoever adopts it learns its status."""
    ignore_paused: bool = False
    """Start it in a paused container too; it runs when that is resumed."""
    before_start: bool = False
    """Run it also in a container that was created and not started."""
    groups: Mapping[str, str] = field(factory=FrozenDict)
    """Control groups below the container's, which exist: controller → relative path (``/``: its own); ``""`` is for all
    the others.
    """

    def __attrs_post_init__(self) -> None:
        check_passed(self.pass_fds, self.listen_fds)
        if self.cwd is not None and not self.cwd.startswith("/"):
            raise InvalidSpec([Problem("cwd", f"expected an absolute path, got {quote(self.cwd)}")])
        for path in self.groups.values():
            if path != "/" and not set(path.strip("/").split("/")).isdisjoint(("", ".", "..")):
                message = f"expected a path below the container's, got {quote(path)}"
                raise InvalidSpec([Problem("cgroup", message)])
        for name in self.env:
            if not name or "=" in name:
                raise InvalidSpec([Problem("env", f"expected names without =, got {quote(name)}")])

    def run_options(self) -> RunOptions:
        """What of this is not in a Process."""
        return RunOptions(
            pass_fds=self.pass_fds,
            listen_fds=self.listen_fds,
            new_keyring=self.new_keyring,
            home=self.home,
        )

    def process(self, own: Process, args: Sequence[str], root: int) -> Process:
        """The whole process: ``own`` is the container's, ``root`` a descriptor of its root, for users by name."""
        size = self.console_size
        return attrs.evolve(
            own,
            args=tuple(args),
            terminal=self.terminal or None,
            console_size=Box(width=size[0], height=size[1]) if size is not None else None,
            user=self._user(own.user, root),
            env=self._env(own.env),
            cwd=_or(self.cwd, own.cwd),
            capabilities=self._capabilities(own.capabilities),
            no_new_privileges=_or(self.no_new_privileges, own.no_new_privileges),
            apparmor_profile=_or(self.apparmor_profile, own.apparmor_profile),
            selinux_label=_or(self.selinux_label, own.selinux_label),
        )

    def _env(self, own: tuple[str, ...]) -> tuple[str, ...]:
        kept = (entry for entry in own if entry.partition("=")[0] not in self.env)
        return (*kept, *(f"{name}={value}" for name, value in self.env.items()))

    def _user(self, own: User, root: int) -> User:
        if not isinstance(self.user, str):
            user = self.user or own
            return attrs.evolve(user, additional_gids=(*user.additional_gids, *self.additional_gids))
        from ociworks.spec.users import resolve_user

        found = resolve_user(root, self.user, groups=self.additional_gids)
        return attrs.evolve(found, umask=own.umask)

    def _capabilities(self, own: Capabilities | None) -> Capabilities | None:
        if not self.capabilities:
            return own
        has = own or Capabilities()
        return attrs.evolve(
            has,
            bounding=_joined(has.bounding, self.capabilities),
            effective=_joined(has.effective, self.capabilities),
            permitted=_joined(has.permitted, self.capabilities),
        )


def _or(given: T | None, own: T) -> T:
    return own if given is None else given


def _joined(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))
