"""The result of a run or an exec."""

from __future__ import annotations

from attrs import field, frozen

from ociworks.errors import CommandFailed

__all__ = ["CompletedContainer"]


@frozen(kw_only=True)
class CompletedContainer:
    """A program that ran to its end in a container, as ``subprocess.CompletedProcess``.

    ``returncode`` is the exit status, or the negative number of the signal that killed it. ``stdout`` and ``stderr``
    are what was captured, empty when nothing was.
    """

    args: tuple[str, ...]
    returncode: int
    stdout: bytes = field(default=b"", repr=lambda data: f"<{len(data)} bytes>")
    stderr: bytes = field(default=b"", repr=lambda data: f"<{len(data)} bytes>")
    container_id: str = ""

    def check(self) -> CompletedContainer:
        """Itself when the status is 0, otherwise CommandFailed."""
        if self.returncode:
            raise CommandFailed(self)
        return self
