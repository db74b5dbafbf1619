"""CR-06, CR-08 and CR-11: log paths, names and identities of a request for a container."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.cri.container.logpath import log_path
from ociworks.cri.container.names import reserved_name
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.cri.records import ContainerRecord
from ociworks.cri.store import Store
from ociworks.errors import AlreadyReserved, ImageConfigError, InvalidRequest, PodNotFound
from tests.cri.requests import image, linux, translated

# --- CR-06: log paths ---------------------------------------------------------------------------------


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    root = tmp_path / "logs"
    root.mkdir()
    return root


@pytest.mark.parametrize(
    "directory",
    [
        "relative/pod",
        "{root}",
        "{root}/",
        "{root}/..",
        "{root}/../other",
        "{root}/a/../../b",
        "{root}x/pod",
        "/",
        "/etc",
    ],
)
def test_cr_06_log_directories(logs: Path, directory: str) -> None:
    """Only directories below a configured one; nothing outside is touched."""
    before = sorted(os.listdir(logs.parent))
    with pytest.raises(InvalidRequest):
        log_path(directory.format(root=logs), "main.log", [str(logs)])
    assert sorted(os.listdir(logs.parent)) == before


@pytest.mark.parametrize(
    "name",
    ["/etc/x", "../x", "a/../../x", ".", "a/", "a\nb", "a\0b", "x" * 256, "/".join("a" * 20), "a\x1b[2J"],
)
def test_cr_06_log_names(logs: Path, name: str) -> None:
    """A name that leaves the pod's directory, or is none, is refused."""
    with pytest.raises(InvalidRequest):
        log_path(f"{logs}/pod", name, [str(logs)])


def test_cr_06_without_a_name_there_is_no_log(logs: Path) -> None:
    assert log_path(f"{logs}/pod", "", [str(logs)]) == ""
    assert log_path("", "main.log", [str(logs)]) == ""
    assert os.listdir(logs) == []


def test_cr_06_what_is_on_the_way(logs: Path, tmp_path: Path) -> None:
    """Links, FIFOs and directories of others are not followed, opened or written into."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (logs / "linked").symlink_to(outside)
    (logs / "pod").mkdir()
    (logs / "pod/link.log").symlink_to(outside / "file")
    os.mkfifo(logs / "pod/fifo.log")
    (logs / "pod/directory.log").mkdir()
    (logs / "open").mkdir()
    (logs / "open").chmod(0o777)
    for directory, name in [
        ("linked", "main.log"),
        ("pod", "link.log"),
        ("pod", "fifo.log"),
        ("pod", "directory.log"),
        ("pod", "link.log/main.log"),
        ("open", "main.log"),
    ]:
        with pytest.raises(InvalidRequest):
            log_path(f"{logs}/{directory}", name, [str(logs)])
    assert os.listdir(outside) == []
    assert log_path(f"{logs}/pod", "sub/0.log", [str(logs)]) == f"{logs}/pod/sub/0.log"
    assert (logs / "pod/sub").is_dir()


@pytest.mark.root
def test_cr_06_directory_of_another_user(logs: Path) -> None:
    (logs / "theirs").mkdir()
    os.chown(logs / "theirs", 1234, 1234)
    with pytest.raises(InvalidRequest):
        log_path(f"{logs}/theirs", "main.log", [str(logs)])


# --- CR-08: names and IDs -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\0b", "a\nb", "a b", "-a", "ü", "x" * 65536, "a_b/0"])
def test_cr_08_container_names(name: str) -> None:
    with pytest.raises(InvalidRequest):
        reserved_name("5" * 64, api.ContainerMetadata(name=name))


@given(
    st.tuples(st.from_regex(r"[a-z_]{1,4}", fullmatch=True), st.integers(0, 2**32 - 1)),
    st.tuples(st.from_regex(r"[a-z_]{1,4}", fullmatch=True), st.integers(0, 2**32 - 1)),
)
def test_cr_08_joined_names_are_unambiguous(one: tuple[str, int], other: tuple[str, int]) -> None:
    names = [
        reserved_name("5" * 64, api.ContainerMetadata(name=f"x{name}", attempt=attempt))
        for name, attempt in (one, other)
    ]
    assert (names[0] == names[1]) == (one == other)


@pytest.mark.parametrize("attempt", [-1, 2**32])
def test_cr_08_attempts(attempt: int) -> None:
    """The wire format has no such numbers."""
    with pytest.raises(ValueError, match="range"):
        api.ContainerMetadata(name="a", attempt=attempt)


def test_cr_08_ambiguous_prefixes_and_names_in_the_store(tmp_path: Path) -> None:
    """A prefix of several is nobody's; a name is reserved with its record and free when that is gone."""

    def record(id: str, name: str) -> ContainerRecord:
        return ContainerRecord(
            id=id, sandbox_id="5" * 64, name=name, phase="created", handler="", config=b"", created_at=1
        )

    with Store(tmp_path / "db") as store:
        store.containers.add(record("a" * 64, "one"))
        store.containers.add(record("a" * 63 + "b", "two"))
        for prefix in ("", "a", "a" * 63, "5" * 64, "%", "_"):
            with pytest.raises(PodNotFound):
                store.containers.find(prefix)
        for part in ("a", "a" * 12, "a" * 63):
            with pytest.raises(InvalidRequest):
                store.containers.whole(part)
        for other in ("", "b", "A" * 64, "../" + "a" * 61, "a" * 64 + "\n"):
            assert store.containers.whole(other) is None
        with pytest.raises(AlreadyReserved):
            store.containers.add(record("b" * 64, "one"))
        store.containers.remove("a" * 64)
        store.containers.add(record("b" * 64, "one"))


# --- CR-11: run-as identity ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "security",
    [
        {"run_as_user": api.Int64Value(value=1), "run_as_username": "root"},
        {"run_as_group": api.Int64Value(value=1)},
        *({"run_as_user": api.Int64Value(value=value)} for value in (-1, 2**31, 2**32, 2**63 - 1)),
        *(
            {"run_as_user": api.Int64Value(value=1), "run_as_group": api.Int64Value(value=value)}
            for value in (-1, 2**31, 2**32)
        ),
        *(
            {"run_as_username": name}
            for name in ("0", "1000", "+0", "root ", "-1", "root:0", "0x0", "\u0660")
        ),
        {"supplemental_groups": [-1]},
        {"supplemental_groups": [2**32]},
        {"supplemental_groups_policy": 7},
    ],
)
def test_cr_11_identities_that_are_none(security: dict[str, Any]) -> None:
    """Contradictions, numbers out of range and digits as names: never root instead."""
    with pytest.raises(InvalidRequest):
        translated(linux=linux(**security))


@pytest.mark.parametrize("user", ["4294967296", "2147483648", "-1", "+0", "root ", "0:4294967296"])
def test_cr_11_identities_of_an_image_that_are_none(user: str) -> None:
    with pytest.raises(ImageConfigError):
        translated(image=image(user=user))


def test_cr_11_a_second_start_is_the_same() -> None:
    """Also when the image says who, and the request does not."""
    again = [translated(image=image(user="1000:7")).user for _ in range(2)]
    assert again[0] == again[1]
    assert (again[0].uid, again[0].gid) == (1000, 7)
