"""How a container ended → what its record says.

================================  ============================  =============================
end                               exit code                     reason
================================  ============================  =============================
by itself, 0                      0                             ``Completed``
by itself, otherwise              its status                    ``Error``
by a signal                       128 and the signal's number   ``Error``
for want of memory, and not 0     as above                      ``OOMKilled``
its program could not be started  128                           ``StartError``
nobody knows: its shim is gone    255                           ``ContainerStatusUnknown``
================================  ============================  =============================
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Final

from attrs import evolve

from ociworks.cri.records import ContainerRecord
from ociworks.runtime.detach import Exit
from ociworks.spec.numbers import parse_uint

__all__ = ["MAX_MESSAGE", "START_ERROR", "with_exit", "with_start_error"]

START_ERROR: Final = "StartError"
_NOT_STARTED: Final = 128
_UNKNOWN: Final = 255
MAX_MESSAGE: Final = 4096


def with_exit(record: ContainerRecord, found: Exit | None) -> ContainerRecord:
    """The record of a container that has ended like this; None: nobody knows how."""
    if found is None:
        return evolve(
            record,
            phase="exited",
            finished_at=time.time_ns(),
            exit_code=_UNKNOWN,
            reason="ContainerStatusUnknown",
            message="the process that held the container is gone, and its exit status with it",
        )
    code = found.status if found.status >= 0 else 128 - found.status
    reason = "Completed" if code == 0 else "OOMKilled" if found.oom_killed else "Error"
    return evolve(
        record, phase="exited", finished_at=_nanoseconds(found.exited_at), exit_code=code, reason=reason
    )


def with_start_error(record: ContainerRecord, message: str) -> ContainerRecord:
    """The record of a container whose program could not be executed."""
    now = time.time_ns()
    return evolve(
        record,
        phase="exited",
        started_at=now,
        finished_at=now,
        exit_code=_NOT_STARTED,
        reason=START_ERROR,
        message=message[:MAX_MESSAGE],
    )


def _nanoseconds(text: str) -> int:
    """RFC 3339 in UTC, with up to nine digits of a second. What a shim never writes counts as now."""
    whole, _, rest = text.removesuffix("Z").partition(".")
    try:
        seconds = round(datetime.fromisoformat(f"{whole}+00:00").timestamp())
        return seconds * 10**9 + (parse_uint(rest.ljust(9, "0")[:9].lstrip("0") or "0", 10**9, "fraction"))
    except ValueError:
        return time.time_ns()
