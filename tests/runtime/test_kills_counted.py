"""Whether a container was killed for want of memory, also when its group is gone before its counter was read."""

from __future__ import annotations

from pathlib import Path

import pytest

from ociworks.runtime.shim.exits import Oom

KILLED = -9


class Groups:
    """A scope in a slice, as files."""

    def __init__(self, place: Path) -> None:
        self.scope = place / "a.slice/x.scope"
        self.scope.mkdir(parents=True)
        self.count(0, 0)

    def count(self, own: int | None, above: int | None) -> None:
        """What was killed; None for a group that is gone."""
        for path, kills in ((self.scope, own), (self.scope.parent, above)):
            text = (
                "" if kills is None else f"low 0\nhigh 0\nmax 7\noom 1\noom_kill {kills}\noom_group_kill 9\n"
            )
            (path / "memory.events").write_text(text)


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    return Groups(tmp_path)


def test_its_own_counter_decides(groups: Groups) -> None:
    """Whatever happened above."""
    groups.count(0, 3)
    oom = Oom([str(groups.scope)])
    groups.count(0, 5)
    assert not oom.happened(KILLED)
    groups.count(1, 6)
    assert oom.happened(KILLED)
    assert oom.happened(1)


def test_of_a_group_that_is_gone_the_one_above_tells(groups: Groups) -> None:
    """Only of one that was killed, and without the kills of others that were noticed before."""
    groups.count(0, 3)
    oom = Oom([str(groups.scope)])
    groups.count(None, 3)
    assert not oom.happened(KILLED)
    groups.count(None, 4)
    assert oom.happened(KILLED)
    assert not oom.happened(137)
    groups.count(0, 4)
    assert oom.look()
    groups.count(None, 4)
    assert not oom.happened(KILLED)
    groups.count(None, 5)
    assert oom.look()
    assert oom.happened(KILLED)
    groups.count(None, None)
    assert not oom.look()
    assert not oom.happened(KILLED)


def test_no_other_group_has_one_above(tmp_path: Path) -> None:
    """What is not systemd's is removed by nobody but us."""
    groups = Groups(tmp_path)
    plain = groups.scope.parent / "plain"
    plain.mkdir()
    (plain / "memory.events").write_text("oom_kill 2\n")
    oom = Oom([str(plain), str(tmp_path / "missing")])
    assert oom.above == -1
    assert oom.happened(KILLED)
    assert not Oom([str(tmp_path)]).happened(KILLED)
