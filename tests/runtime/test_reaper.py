"""The parent of what other runtimes' programs leave behind: whatever the order of the ends, no status is lost."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import errors
from ociworks._linux.process import PR_SET_CHILD_SUBREAPER, prctl
from ociworks.runtime.launcher import Spawned
from ociworks.runtime.launcher.reaper import Reaper
from tests.runtime.shims import until_ended

LEAVES = """
import os, sys
pid = os.fork()
if not pid:
    os.read(0, 1)
    os._exit(7)
open(sys.argv[1], "w").write(str(pid))
if sys.argv[2] == "before":
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
os._exit(int(sys.argv[3]))
"""
"""Forks one that ends with 7 when its standard input does."""


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    made = Reaper()
    yield made
    made.close()


@pytest.fixture
def adopting() -> Iterator[None]:
    """While it lasts this process is the parent of whatever its helpers leave behind."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    yield
    prctl(PR_SET_CHILD_SUBREAPER, 0)


def leave(reaper: Reaper, folder: Path, ends: str, *, status: int = 0, outlives: bool = False) -> Spawned:
    """What a program left behind that ended ``before`` the program itself or ends ``after`` it."""
    name = str(folder / "pid")
    stdin, hold = os.pipe()
    if ends == "before":
        os.close(hold)
    try:
        argv = (sys.executable, "-c", LEAVES, name, ends, str(status))
        command = reaper.start(argv, (stdin, 2, 2), name, outlives=outlives)
    finally:
        os.close(stdin)
    assert command.wait(60) == status
    os.close(command.pidfd)
    try:
        return reaper.left_behind(command)
    except BaseException:
        command.monitor.close()
        raise
    finally:
        if ends == "after":
            os.close(hold)


@pytest.mark.parametrize("ends", ["before", "after"])
def test_a_status(reaper: Reaper, tmp_path: Path, ends: str) -> None:
    left = leave(reaper, tmp_path, ends)
    assert left.wait(60) == 7
    left.close()


@pytest.mark.usefixtures("adopting")
@pytest.mark.parametrize("ends", ["before", "after"])
def test_a_status_for_whoever_adopts(reaper: Reaper, tmp_path: Path, ends: str) -> None:
    """What outlives the reaper keeps its status for its next parent."""
    left = leave(reaper, tmp_path, ends, outlives=True)
    until_ended(left.pid)
    left.close()
    reaper.close()
    result = os.waitid(os.P_PID, left.pid, os.WEXITED)
    assert result is not None
    assert (result.si_code, result.si_status) == (os.CLD_EXITED, 7)


def test_others_go_on_beside_what_is_kept(reaper: Reaper, tmp_path: Path) -> None:
    """One that was kept and has ended hides nobody, and is buried when something else is started."""
    kept = leave(reaper, tmp_path, "before", outlives=True)
    left = leave(reaper, tmp_path, "before")
    assert left.wait(60) == 7
    with pytest.raises(FileNotFoundError):
        Path(f"/proc/{kept.pid}/stat").read_text()
    kept.close()
    left.close()


def test_a_command_that_failed_leaves_nobody(reaper: Reaper, tmp_path: Path) -> None:
    with pytest.raises(errors.LauncherError, match="which process it left behind"):
        leave(reaper, tmp_path, "before", status=3)
