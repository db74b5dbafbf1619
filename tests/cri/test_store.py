"""Records of pods and containers: kept whole, names reserved once, damaged files refused."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.cri.records import ContainerRecord, SandboxRecord
from ociworks.cri.store import Store
from ociworks.errors import AlreadyReserved, InvalidRequest, PodNotFound, StoreError

ID = "ab" * 32
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
NUMBER = st.integers(0, 2**62)


def a_sandbox(**changes: object) -> SandboxRecord:
    record = SandboxRecord(id=ID, name="pod", phase="creating", created_at=1, handler="", config=b"c")
    return attrs.evolve(record, **changes)  # type: ignore[arg-type]


def a_container(**changes: object) -> ContainerRecord:
    record = ContainerRecord(
        id="cd" * 32, sandbox_id=ID, name="c", phase="creating", handler="", config=b"", created_at=1
    )
    return attrs.evolve(record, **changes)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "cri.db") as opened:
        yield opened


def test_records_come_back_after_a_restart(tmp_path: Path) -> None:
    sandbox = a_sandbox(addresses=("10.0.0.2", "fd00::2"), network=b"{}", phase="ready")
    container = a_container(restored=True, exit_code=137, user=b"\0\xff")
    with Store(tmp_path / "cri.db") as store:
        store.sandboxes.add(sandbox)
        store.containers.add(container)
    with Store(tmp_path / "cri.db") as store:
        assert store.sandboxes.all() == (sandbox,)
        assert store.containers.of_sandbox(ID) == (container,)


@given(
    st.builds(
        ContainerRecord,
        id=st.text("0123456789abcdef", min_size=64, max_size=64),
        sandbox_id=TEXT,
        name=TEXT,
        phase=st.sampled_from(["created", "running", "exited"]),
        handler=TEXT,
        config=st.binary(max_size=50),
        created_at=NUMBER,
        started_at=NUMBER,
        finished_at=NUMBER,
        exit_code=st.integers(-(2**31), 2**31),
        message=TEXT,
        mounts=st.binary(max_size=9),
        restored=st.booleans(),
    )
)
def test_any_record_is_read_as_it_was_written(record: ContainerRecord) -> None:
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder, "cri.db")) as store:
        store.containers.add(record)
        assert store.containers.get(record.id) == record


def test_a_name_belongs_to_one(store: Store) -> None:
    store.sandboxes.add(a_sandbox())
    with pytest.raises(AlreadyReserved) as caught:
        store.sandboxes.add(a_sandbox(id="ef" * 32))
    assert caught.value.holder == ID
    store.containers.add(a_container(name="pod"))
    store.sandboxes.remove(ID)
    store.sandboxes.remove(ID)
    store.sandboxes.add(a_sandbox(id="ef" * 32))


def test_one_of_many_gets_the_name(store: Store) -> None:
    won: list[int] = []
    start = threading.Barrier(8)

    def reserve(number: int) -> None:
        start.wait()
        try:
            store.sandboxes.add(a_sandbox(id=f"{number:064x}"))
        except AlreadyReserved:
            return
        won.append(number)

    threads = [threading.Thread(target=reserve, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == len(store.sandboxes.all()) == 1


def test_a_change_that_fails_changes_nothing(store: Store) -> None:
    store.sandboxes.add(a_sandbox())

    def fail(_: SandboxRecord) -> SandboxRecord:
        store.sandboxes.add(a_sandbox(id="ef" * 32, name="other"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.sandboxes.update(ID, fail)
    assert store.sandboxes.all() == (a_sandbox(),)
    assert store.sandboxes.update(ID, lambda old: attrs.evolve(old, phase="ready")).phase == "ready"


def test_cr_08_a_short_id_means_one_or_nothing(store: Store) -> None:
    """The beginning of an ID finds its record only when no other ID begins so; text that is no ID finds none."""
    store.sandboxes.add(a_sandbox(id="aa" * 32, name="1"))
    store.sandboxes.add(a_sandbox(id="ab" * 32, name="2"))
    assert store.sandboxes.find("ab").name == "2"
    for text in ("", "a", "c", "%", "_b", "AB", "ab" * 33, "ab\0", "' OR 1=1 --"):
        with pytest.raises(PodNotFound):
            store.sandboxes.find(text)
    with pytest.raises(PodNotFound):
        store.sandboxes.get("ab")


def test_a_second_server_is_refused(store: Store, tmp_path: Path) -> None:
    store.sandboxes.add(a_sandbox())
    with pytest.raises(StoreError, match="locked"):
        Store(tmp_path / "cri.db")


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_sv_05_a_damaged_database_is_said_to_be_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cri.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"cri\.db"):
        Store(path)
    assert path.read_bytes() == content


def test_sv_05_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "cri.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(StoreError, match="99") as caught:
        Store(path)
    assert os.listdir("/proc/self/fd") == before, "closed, not collected"
    assert caught.tb is not None  # so it was there till now


def test_sv_05_a_database_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cri.db"
    Store(path).close()
    os.chmod(path, 0o666)
    with pytest.raises(StoreError, match="only its owner"):
        Store(path)
    path.unlink()
    path.symlink_to(tmp_path / "other")
    with pytest.raises(StoreError, match="regular"):
        Store(path)
    assert not (tmp_path / "other").exists()


def test_what_is_ended_is_named_by_its_whole_id(tmp_path: Path) -> None:
    """Something that no ID begins with stands for nothing; the beginning of one is refused."""
    with Store(tmp_path / "cri.db") as store:
        record = SandboxRecord(id="ab" * 32, name="n", phase="ready", created_at=1, handler="", config=b"")
        store.sandboxes.add(record)
        assert store.sandboxes.whole(record.id) == record
        for unknown in ("", "cd" * 32, "a442d91b-2678-41d3-ba3d-fa596466fe98", "AB", "%", "ab" * 33):
            assert store.sandboxes.whole(unknown) is None
        for beginning in ("a", "abab"):
            with pytest.raises(InvalidRequest, match="expected the whole ID"):
                store.sandboxes.whole(beginning)
