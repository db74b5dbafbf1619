"""Another program (``ociworks-runtime``) restores containers, and a shim of ours holds them; criu is a stand-in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import errors
from ociworks.runtime import Detach, RestoreOptions, Runtime, RuntimeBinary
from tests.runtime.boxes import nothing_left
from tests.runtime.commands import program
from tests.runtime.shims import shim_of
from tests.runtime.test_restored import Restoring, restoring

__all__ = ["restoring"]

pytestmark = pytest.mark.root


@pytest.fixture
def other(tmp_path: Path) -> Iterator[RuntimeBinary]:
    """A runtime of which nothing stays."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    command, root = program(tmp_path), tmp_path / "state"
    with nothing_left(root), nothing_left(Path(f"{root}@shims")), RuntimeBinary(command, root) as made:
        yield made


def prepare(restoring: Restoring, does: str, script: str = "") -> RestoreOptions:
    """Have the stand-in do something, in the control groups of the container."""
    with Runtime(restoring.place / "root") as planning:
        procs = planning.plan(restoring.bundle, "back").cgroup.procs
    restoring.bundle.save()
    restoring.criu(does, procs, script)
    return RestoreOptions(image_path=str(restoring.place / "images"))


def test_it_is_held_by_a_shim(restoring: Restoring, other: RuntimeBinary) -> None:
    """Who restored it is gone: it can be attached, its output is logged, its exit status kept."""
    given = prepare(restoring, "restore", "read x; echo got $x; exit 3")
    detach = Detach(log=str(restoring.log), stdin=True)
    held = other.restore("back", restoring.bundle, given, detach=detach)
    assert (held.status, shim_of(held) > 0) == ("running", True)
    with RuntimeBinary(other.program.path, other.root) as again:
        found = again.get("back")
        with found.attach(stdin=True) as attached:
            attached.write(b"it\n")
            assert [chunk.data for chunk in attached] == [b"got it\n"]
        assert found.wait(timeout=60) == 3
        assert [record.data for record in found.logs()] == [b"got it\n"]
        found.delete()
    assert other.list() == ()


@pytest.mark.parametrize("does", ["fail", "deaf"])
def test_a_restore_that_fails_leaves_nothing(restoring: Restoring, other: RuntimeBinary, does: str) -> None:
    """By the program's word, or because it does not end in time."""
    given = prepare(restoring, does, "exec sleep 1000")
    kind = errors.CheckpointFailed if does == "fail" else errors.ContainerTimeout
    given = RestoreOptions(image_path=given.image_path, timeout=5)
    with pytest.raises(kind, match="restore"):
        other.restore("back", restoring.bundle, given, detach=Detach())
    assert other.list() == ()
    if does == "deaf":
        restoring.ended()


def test_what_is_refused(restoring: Restoring, other: RuntimeBinary) -> None:
    """Before anything is done, with words."""
    given = prepare(restoring, "fail")
    with pytest.raises(errors.NotSupported, match="Detach options only"):
        other.restore("back", restoring.bundle, given, detach=True)
    given = RestoreOptions(image_path=given.image_path, untrusted=True)
    with pytest.raises(errors.NotSupported, match="untrusted: another runtime's program has no such option"):
        other.restore("back", restoring.bundle, given, detach=Detach())
    plain = RestoreOptions(image_path=given.image_path)
    with pytest.raises(ValueError, match="streams"):
        other.restore("back", restoring.bundle, plain, detach=Detach(), stdin=-3)
