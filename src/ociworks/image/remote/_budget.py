"""How often one transfer, up or down, may be interrupted before it is given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from ociworks.errors import RegistryError
    from ociworks.image.remote.limits import Limits

__all__ = ["Budget"]


@final
class Budget:
    """Interruptions of one blob: counted in all, and in a row as long as each brought little.

    A transfer that moves on may be interrupted often; one that does not is given up soon.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._interruptions = 0
        self._strikes = 0
        self._reached = 0

    def spend(self, done: int, error: RegistryError) -> float:
        """Take note that ``error`` came after ``done`` bytes of the blob; gives the seconds to wait.

        ``error`` is raised when the budget is spent.
        """
        self._interruptions += 1
        small = done - self._reached < self._limits.resume_progress
        self._strikes = self._strikes + 1 if small else 0
        self._reached = done
        if self._strikes > self._limits.resumes or self._interruptions > self._limits.max_resumes:
            raise error
        return self._limits.first_delay * 2.0**self._strikes if small else 0.0
