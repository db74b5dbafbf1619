"""A bundle whose root filesystem is an overlay, mounted by the container itself: nothing on the host to undo."""

from __future__ import annotations

from ociworks._values import frozen
from ociworks.errors import SpecError
from ociworks.spec import Bundle

__all__ = ["OverlayBundle", "RootfsOverlay"]


@frozen(kw_only=True)
class RootfsOverlay:
    """The directories of an overlay, absolute paths on the host (overlayfs's ``lowerdir``, ``upperdir``, ``workdir``).

    Raises :class:`~ociworks.errors.SpecError` without a lower directory, or with one of ``upper`` and ``work`` alone.
    """

    lowers: tuple[str, ...]
    """The topmost first."""
    upper: str | None = None
    """Takes what the container changes; None: the root can only be read."""
    work: str | None = None
    """Empty, and on the file system of ``upper``."""
    user: bool = False
    """Whether the marks are ``user.overlay.*`` attributes, as in a user namespace, else ``trusted.overlay.*``."""

    volatile: bool = False
    """Whether changes are lost with the machine: they are never synced, and the end of the container waits for no disk.
    ``upper`` and ``work`` can be used once."""

    def __attrs_post_init__(self) -> None:
        if not self.lowers:
            raise SpecError("an overlay needs at least one lower directory")
        if (self.upper is None) != (self.work is None):
            raise SpecError("an overlay that can be written needs both upper and work")

    def encode(self) -> tuple[tuple[str, ...], str, str, bool, bool]:
        """The plain form that an operation has."""
        return (self.lowers, self.upper or "", self.work or "", self.user, self.volatile)


@frozen
class OverlayBundle(Bundle):
    """A bundle with an overlay in the place of its root filesystem.

    ``root.path`` names a directory, best an empty one, on which the container's own mount namespace has the overlay.
    """

    overlay: RootfsOverlay
