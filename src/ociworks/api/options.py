"""What a person may choose for a container, in a person's units, and for a copy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

from attrs import field, frozen

from ociworks.errors import SpecError, quote
from ociworks.spec.frozen import FrozenDict

if TYPE_CHECKING:
    from ociworks.image.bundle import RuntimeOptions
    from ociworks.image.sign import Policy  # noqa: TC004 - attrs leaves annotations unread
    from ociworks.spec.runtime import Resources

__all__ = ["CopyOptions", "RunOptions"]

_PERIOD: Final = 100_000
"""Microseconds in which a share of the processors is counted; the kernel's own default."""
_SMALLEST_QUOTA: Final = 1_000
"""Microseconds; the kernel takes no smaller one."""


def _variables(env: Mapping[str, str]) -> FrozenDict[str, str]:
    for name, value in env.items():
        if not name or "=" in name or "\0" in name + value:
            raise SpecError(
                f"environment: expected a name without '=' and no NUL, got {quote(f'{name}={value}')}"
            )
    return FrozenDict(env)


@frozen(kw_only=True)
class CopyOptions:
    """How to copy images, for :func:`ociworks.copy`."""

    media_types: Literal["oci", "docker"] | None = None
    """Make manifests of OCI's or Docker's media types, which changes their digests; None keeps them as they are."""
    store: str | os.PathLike[str] | None = None
    """The directory that ``store:`` means; None: the default store."""
    workers: int = 4
    """How many blobs travel at a time."""
    policy: Policy | None = None
    """What must be true of an image before any of it is copied, such as ``sign.Policy.load()``; None: nothing."""


@frozen(kw_only=True)
class RunOptions:
    """How to run a container. None leaves what the image or the default profile says.

    What is asked for here is applied, or the run fails. Raises :class:`~ociworks.errors.SpecError` for numbers and
    variables that are none.
    """

    memory: int | None = None
    """At most this many bytes of memory, swap included."""
    pids: int | None = None
    """At most this many processes and threads."""
    cpus: float | None = None
    """At most this share of the processors: 1.5 is one and a half; at least 0.01."""
    env: Mapping[str, str] = field(default=FrozenDict(), converter=_variables)
    """Variables beside those of the image; these win."""
    workdir: str | None = None
    """The directory to start in, absolute."""
    user: str | None = None
    """``name``, ``uid``, ``name:group`` or ``uid:gid``; digits are always a number."""
    hostname: str | None = None
    read_only: bool = False
    """The root filesystem cannot be written."""
    terminal: bool = False
    """The process gets a terminal; for :func:`ociworks.api.prepare`, since ``run`` has no use for one."""

    def __attrs_post_init__(self) -> None:
        if self.memory is not None and self.memory <= 0:
            raise SpecError(f"memory: expected more than 0 bytes, got {self.memory}")
        if self.pids is not None and self.pids <= 0:
            raise SpecError(f"pids: expected more than 0, got {self.pids}")
        if self.cpus is not None and not self.cpus * _PERIOD >= _SMALLEST_QUOTA:
            raise SpecError(f"cpus: expected at least {_SMALLEST_QUOTA / _PERIOD}, got {self.cpus}")

    def for_image(self, args: tuple[str, ...] | None, *, rootless: bool) -> RuntimeOptions:
        """These choices as :func:`ociworks.image.bundle.runtime_spec` takes them."""
        from ociworks.image.bundle import RuntimeOptions

        return RuntimeOptions(
            args=args,
            env=self.env,
            cwd=self.workdir,
            user=self.user,
            terminal=self.terminal,
            hostname=self.hostname,
            resources=self._resources(),
            readonly=self.read_only,
            rootless=rootless,
        )

    def _resources(self) -> Resources | None:
        if self.memory is None and self.pids is None and self.cpus is None:
            return None
        from ociworks.spec.runtime import CPU, Memory, Pids, Resources

        return Resources(
            memory=None if self.memory is None else Memory(limit=self.memory, swap=self.memory),
            pids=None if self.pids is None else Pids(limit=self.pids),
            cpu=None if self.cpus is None else CPU(quota=round(self.cpus * _PERIOD), period=_PERIOD),
        )
