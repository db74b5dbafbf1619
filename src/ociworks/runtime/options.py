"""How a process is started, beyond what a configuration says: of a new container, and of an exec."""

from __future__ import annotations

import os

from ociworks._values import evolve, frozen
from ociworks.errors import InvalidSpec, Problem, quote
from ociworks.runtime._same import Same, kept
from ociworks.spec.runtime import Linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from ociworks.spec.runtime import Seccomp, Spec

__all__ = ["RunOptions", "check_passed", "named_seccomp", "with_seccomp"]

_DEFAULT: Final = "default"
_UNCONFINED: Final = "unconfined"
_MAX_PASSED: Final = 128


@frozen(kw_only=True)
class RunOptions:
    """Options of :meth:`Runtime.create` and :meth:`Runtime.run`. InvalidSpec for values that make no sense."""

    pass_fds: tuple[int, ...] = ()
    """Descriptors of the caller's that become 3, 4, … of the program; they stay open here."""
    listen_fds: int = 0
    """How many of them, from the first, are announced as sockets (``LISTEN_FDS``, ``LISTEN_PID``; sd_listen_fds(3))."""
    new_keyring: bool = True
    """Whether the container gets a session keyring of its own; without one it has the caller's keys."""
    home: bool = False
    """Whether a program without ``HOME`` gets its user's of the container's ``/etc/passwd``, or ``/``."""
    no_pivot: bool = False
    """Enter the root by chroot, for a host whose own root cannot be exchanged (an initramfs); it protects less."""
    seccomp: str | Seccomp | None = None
    """Another filter than the configuration's: ``default`` (:func:`ociworks.spec.defaults.default_seccomp`),
    ``unconfined`` (none), or a filter.
    """

    def __attrs_post_init__(self) -> None:
        check_passed(self.pass_fds, self.listen_fds)

    def apply(self, spec: Spec) -> Spec:
        """The configuration with what these options change in it."""
        return spec if self.seccomp is None else with_seccomp(spec, self.seccomp)


def check_passed(pass_fds: Sequence[int], listen_fds: int) -> None:
    """Raise InvalidSpec for descriptors that cannot be passed; that one is closed is found out by the kernel."""
    if len(pass_fds) > _MAX_PASSED or any(fd < 0 for fd in pass_fds):
        raise InvalidSpec([Problem("pass_fds", f"expected at most {_MAX_PASSED} descriptors, none negative")])
    if not 0 <= listen_fds <= len(pass_fds):
        raise InvalidSpec([Problem("listen_fds", f"expected 0 to {len(pass_fds)}, got {listen_fds}")])


def with_seccomp(spec: Spec, name: str | Seccomp) -> Spec:
    """The configuration with another filter, by name (see :class:`RunOptions`) or as it is."""
    return _with_seccomp(Same(spec), name if isinstance(name, str) else Same(name))


@kept(16)
def _with_seccomp(same: Same[Spec], name: str | Same[Seccomp]) -> Spec:
    """The same one for the same filter, so that it is judged and compiled once."""
    filtered = named_seccomp(name, same.value) if isinstance(name, str) else name.value
    return evolve(same.value, linux=evolve(same.value.linux or Linux(), seccomp=filtered))


def named_seccomp(name: str, spec: Spec) -> Seccomp | None:
    """The filter of this name for a configuration, whose capabilities count. InvalidSpec for an unknown name."""
    if name == _UNCONFINED:
        return None
    if name != _DEFAULT:
        message = f"expected {_DEFAULT!r}, {_UNCONFINED!r} or a Seccomp value, got {quote(name)}"
        raise InvalidSpec([Problem("seccomp", message)])
    from ociworks.spec.defaults_seccomp import default_seccomp

    capabilities = spec.process.capabilities if spec.process is not None else None
    return default_seccomp(capabilities.bounding if capabilities is not None else (), os.uname().machine)
