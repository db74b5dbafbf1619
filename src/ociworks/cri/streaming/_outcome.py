"""How a program ended, as its client reads it from the error stream."""

from __future__ import annotations

import json
from typing import Final

from attrs import frozen

__all__ = ["Outcome", "exit_code"]

_STATUS_AS_JSON: Final = 4
"""From this version of the protocol on, the error stream carries a ``metav1.Status``; before, words of failure."""


@frozen(kw_only=True)
class Outcome:
    """An exit code, or the reason why there is none."""

    code: int = 0
    """128 and the number of the signal when one killed it."""
    failure: str = ""
    """Empty when the program ran (or the container that was attached to came to its end)."""

    def encoded(self, version: int) -> bytes:
        """What goes over the error stream in this version of the protocol."""
        if version < _STATUS_AS_JSON:
            return self._words().encode()
        return json.dumps(self._status(), separators=(",", ":")).encode()

    def _words(self) -> str:
        if self.failure:
            return self.failure
        return f"command terminated with exit code {self.code}" if self.code else ""

    def _status(self) -> dict[str, object]:
        if self.failure:
            return {
                "metadata": {},
                "status": "Failure",
                "message": self.failure,
                "reason": "InternalError",
                "details": {"causes": [{"message": self.failure}]},
                "code": 500,
            }
        if not self.code:
            return {"metadata": {}, "status": "Success"}
        return {
            "metadata": {},
            "status": "Failure",
            "message": self._words(),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": str(self.code)}]},
        }


def exit_code(status: int) -> int:
    """What a shell would say of it: 128 and the number for a signal, whose negative number the runtime gives."""
    return status if status >= 0 else 128 - status
