"""SV-05 where it touches pods: damaged and hostile records and state; a server starts, and touches nothing else."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from ociworks.cri.config import load
from ociworks.cri.node import Node
from ociworks.cri.store import Store
from ociworks.errors import StoreError
from tests.cri.conftest import place as place  # noqa: PLC0414 - the fixture
from tests.cri.servers import a_pod, prepare
from tests.cri.test_recovery import nodes, phases, running_pod
from tests.runtime.shims import until_ended


@pytest.mark.root
@pytest.mark.parametrize(
    "damage", ["empty", "garbage", "huge", "duplicate", "future", "link", "fifo", "open"]
)
def test_sv_05_damaged_state_of_a_container(place: Path, damage: str) -> None:
    """It is set aside, its container ends; the others go on, and nothing outside is read or changed."""
    with nodes(place) as start:
        node = start()
        pod, victim = running_pod(node, place)
        other, fine = running_pod(node, place, "other")
        pid = node.containers.open(victim).pid
        state = place / "state/runtime/ociworks" / victim / "state.json"
        outside = place / "outside"
        outside.write_bytes(state.read_bytes())
        _damage(state, damage, outside)
        before = outside.read_bytes(), outside.stat()
        node = start()
        assert phases(node) == {pod: "ready", other: "ready", victim: "exited", fine: "running"}
        assert any(victim in line for line in node.recovered.failed)
        assert os.listdir(place / "state/quarantine")
        assert (outside.read_bytes(), outside.stat().st_mode) == (before[0], before[1].st_mode)
        until_ended(pid)


def _damage(state: Path, damage: str, outside: Path) -> None:
    raw = state.read_text()
    if damage == "open":
        state.chmod(0o666)
        return
    state.unlink()
    if damage == "link":
        state.symlink_to(outside)
    elif damage == "fifo":
        os.mkfifo(state)
    else:
        with open(state, "x") as stream:
            stream.write(
                {
                    "empty": "",
                    "garbage": "\0" * 100,
                    "huge": "",
                    "duplicate": raw.replace("{", '{"id":"x",', 1),
                    "future": raw.replace('"version":', '"version":9', 1).replace(
                        '"version": ', '"version": 9', 1
                    ),
                }[damage]
            )
            if damage == "huge":
                stream.truncate(5 << 30)
        state.chmod(0o600)


@pytest.mark.root
def test_sv_05_hostile_records(place: Path) -> None:
    """Records that lead out of our directories are forgotten, and what they name is not touched."""
    with nodes(place) as start:
        node = start()
        pod, fine = running_pod(node, place)
        other, victim = running_pod(node, place, "other")
        node.close()
        (place / "precious").mkdir()
        with sqlite3.connect(place / "root/cri.db") as db:
            db.execute(
                "UPDATE container SET id = '../../../precious', phase = 'creating' WHERE id = ?", (victim,)
            )
            db.execute(
                "UPDATE sandbox SET pins = ?, phase = 'creating' WHERE id = ?", (f"{place}/precious", other)
            )
        db.close()
        node = start()
        assert phases(node) == {pod: "ready", fine: "running"}
        assert len(node.recovered.failed) == 2
        assert (place / "precious").is_dir()
        (place / "precious").rmdir()


@pytest.mark.root
def test_sv_05_records_that_are_no_messages(place: Path) -> None:
    """One that cannot be read is reported; the others are recovered."""
    with nodes(place) as start:
        node = start()
        pod, container = running_pod(node, place)
        other = node.sandboxes.run(a_pod(place, "other"), "")
        whole = node.store.sandboxes.get(other).config
        node.close()
        _set_config(place, other, b"\xff\xff")
        node = start()
        assert phases(node) == {pod: "ready", container: "running", other: "ready"}
        assert [line for line in node.recovered.failed if other in line]
        node.close()
        _set_config(place, other, whole)


def _set_config(place: Path, pod: str, config: bytes) -> None:
    with sqlite3.connect(place / "root/cri.db") as db:
        db.execute("UPDATE sandbox SET config = ? WHERE id = ?", (config, pod))
    db.close()


@pytest.mark.parametrize("damage", ["garbage", "future", "open", "link"])
def test_sv_05_a_database_that_cannot_be_believed(place: Path, damage: str) -> None:
    """The server says so and does not start: without records it would take every pod for a leftover."""
    prepare(place)
    path = place / "root/cri.db"
    Store(path).close()
    if damage == "garbage":
        path.write_bytes(b"not a database" * 1000)
    elif damage == "future":
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
    elif damage == "open":
        path.chmod(0o666)
    else:
        path.rename(place / "elsewhere")
        path.symlink_to(place / "elsewhere")
    with pytest.raises(StoreError):
        Node(load(place / "cri.toml"))
