"""What a filter is compiled to; loads nothing else, so that a filter from the disk does not load libseccomp."""

from __future__ import annotations

from ociworks._values import frozen

__all__ = ["CompiledFilter"]


@frozen(kw_only=True, repr=False)
class CompiledFilter:
    """A filter for seccomp(2) SECCOMP_SET_MODE_FILTER.

    ``program`` is an array of ``struct sock_filter``, 8 bytes each; ``flags`` are the call's flags, with
    NEW_LISTENER when ``needs_listener``: then the call returns a descriptor that ``listenerPath`` must get.
    """

    program: bytes
    flags: int = 0
    needs_listener: bool = False

    @property
    def instructions(self) -> int:
        """The length of the program in instructions; the kernel takes at most 4096."""
        return len(self.program) // 8

    def __repr__(self) -> str:
        size = f"<{len(self.program)} bytes>"
        return f"CompiledFilter(program={size}, flags={self.flags!r}, needs_listener={self.needs_listener!r})"
