"""The directory that a shim makes aside, while others tidy up."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ociworks.runtime.shim.claim import Claim
from ociworks.runtime.shim.debris import sweep_debris


@pytest.mark.parametrize("moment", ["made", "opened"])
def test_somebody_takes_it_away_before_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Nobody can tell it from debris then, so another one is made."""
    swept: list[Path] = []

    def sweep() -> None:
        if not swept:
            swept.extend(tmp_path.iterdir())
            sweep_debris(str(tmp_path))

    monkeypatch.setattr(os, "mkdir", _around(os.mkdir, after=sweep if moment == "made" else None))
    monkeypatch.setattr(fcntl, "flock", _around(fcntl.flock, before=sweep if moment == "opened" else None))
    claim = Claim({"claim": f"{tmp_path}/box", "gate": "", "cgroup": None})
    claim.prepare((("file", b"text"),), "socket")
    try:
        (found,) = tmp_path.iterdir()
        assert [found] != swept
        assert sorted(os.listdir(found)) == ["file", "socket"]
        sweep_debris(str(tmp_path))
        assert found.is_dir()
    finally:
        claim.listener.close()
        claim.unlock()
        os.close(claim.place)


def _around(
    call: Callable[..., None],
    *,
    before: Callable[[], None] | None = None,
    after: Callable[[], None] | None = None,
) -> Callable[..., None]:
    def around(*arguments: object) -> None:
        if before is not None:
            before()
        call(*arguments)
        if after is not None:
            after()

    return around
