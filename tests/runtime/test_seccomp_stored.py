"""Filters on disk: used when they are exactly the same and ours alone, compiled otherwise."""

from __future__ import annotations

import os
from _imp import source_hash
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociworks.runtime.seccomp import CompiledFilter, compiler, stored
from ociworks.runtime.seccomp import compile as compile_filter
from ociworks.spec.defaults_seccomp import default_seccomp
from ociworks.spec.runtime import Seccomp, Syscall
from tests.source_tree import PACKAGE, imports

PROFILE = default_seccomp(("CAP_CHOWN",), os.uname().machine)
OTHER = Seccomp(
    default_action="SCMP_ACT_ALLOW", syscalls=(Syscall(names=("mkdir",), action="SCMP_ACT_ERRNO"),)
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default state root of this test, and no filter in it or in memory."""
    place = tmp_path / "root"
    monkeypatch.setattr(stored, "default_root", lambda: str(place))
    compiler._compile.cache_clear()
    return place


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Seccomp]:
    """What had to be compiled."""
    asked: list[Seccomp] = []

    def count(seccomp: Seccomp) -> CompiledFilter:
        asked.append(seccomp)
        return compile_filter(seccomp)

    monkeypatch.setattr(compiler, "compile", count)
    return asked


def file_of(root: Path) -> Path:
    (found,) = (root / "@filters").iterdir()
    return found


def test_a_filter_is_compiled_once(root: Path, compiled: list[Seccomp]) -> None:
    first = stored.compile_once(PROFILE)
    assert stored.compile_once(PROFILE) == first == compile_filter(PROFILE)
    assert stored.compile_once(OTHER) == compile_filter(OTHER)
    assert compiled == [PROFILE, OTHER]
    assert (root / "@filters").stat().st_mode & 0o777 == 0o700


def test_what_is_not_ours_alone_is_not_believed(root: Path, compiled: list[Seccomp]) -> None:
    right = stored.compile_once(PROFILE)
    file_of(root).chmod(0o666)
    assert stored.compile_once(PROFILE) == right
    assert len(compiled) == 2
    (root / "@filters").chmod(0o777)
    file_of(root).chmod(0o600)
    assert stored.compile_once(PROFILE) == right
    assert len(compiled) == 3
    (root / "@filters").chmod(0o700)
    root.chmod(0o777)
    assert stored.compile_once(PROFILE) == right
    assert len(compiled) == 4


def test_links_are_not_followed(root: Path, compiled: list[Seccomp], tmp_path: Path) -> None:
    stored.compile_once(PROFILE)
    (tmp_path / "elsewhere").mkdir(0o700)
    moved = file_of(root).rename(tmp_path / "elsewhere/file")
    (root / "@filters" / "x").symlink_to(moved)
    (root / "@filters" / "x").rename(
        root / "@filters" / source_hash(stored._FORMAT, repr(PROFILE).encode()).hex()
    )
    stored.compile_once(PROFILE)
    assert len(compiled) == 2
    file_of(root).unlink()
    (root / "@filters").rmdir()
    (root / "@filters").symlink_to(tmp_path / "elsewhere")
    stored.compile_once(PROFILE)
    assert len(compiled) == 3


def test_another_libseccomp_compiles_again(root: Path, compiled: list[Seccomp]) -> None:
    stored.compile_once(PROFILE)
    raw = file_of(root).read_bytes()
    library = stored._library().encode()
    assert library in raw
    file_of(root).write_bytes(raw.replace(library, b"/" + b"x" * (len(library) - 1)))
    stored.compile_once(PROFILE)
    assert len(compiled) == 2


@given(data=st.data())
def test_a_file_of_another_profile_says_nothing(data: st.DataObject) -> None:
    """Cut, changed or exchanged: the answer is None, or what was stored."""
    right = compile_filter(OTHER)
    library = stored._library()
    parts = (os.fsencode(library), stored._makers(library), repr(OTHER).encode(), right.program)
    raw = " ".join(map(str, (2, right.flags, 0, *map(len, parts)))).encode() + b"\n" + b"".join(parts)
    assert stored._parse(raw, repr(OTHER).encode()) == right
    assert stored._parse(raw, repr(PROFILE).encode()) is None
    place = data.draw(st.integers(0, len(raw) - len(right.program) - 1))
    changed = data.draw(
        st.sampled_from([raw[:place], raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :], raw + b"x"])
    )
    try:
        found = stored._parse(changed, repr(OTHER).encode())
    except (ValueError, OSError):
        return
    assert found is None or found.program == right.program


def test_too_many_files_start_over(
    root: Path, compiled: list[Seccomp], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "_MOST", 1)
    stored.compile_once(PROFILE)
    stored.compile_once(OTHER)
    assert len(list((root / "@filters").iterdir())) == 1
    assert compiled == [PROFILE, OTHER]


def test_a_place_that_cannot_be_had_is_no_error(root: Path, compiled: list[Seccomp]) -> None:
    root.write_bytes(b"")
    assert stored.compile_once(OTHER) == compile_filter(OTHER)
    assert compiled == [OTHER]


def test_a_filter_is_not_believed_when_any_file_that_made_it_has_changed() -> None:
    """The list of those files is complete: whatever the compiler imports beside it, at any depth."""
    home = PACKAGE / "runtime/seccomp"
    makers, unread = set[str](), ["compiler"]
    while unread:
        makers.add(name := unread.pop())
        below = {
            found.split(".")[3]
            for _, found in imports(home / f"{name}.py", type_checking=False)
            if found.startswith("ociworks.runtime.seccomp.")
        }
        unread += below - makers - {"value"}  # the form of the answer; stored reads it
    assert set(stored._OURS) == makers
