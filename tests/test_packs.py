"""Packs: the modules of a command, and of the helper, in one file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ociworks

PACK = f"list.{sys.implementation.cache_tag}.pack"
RUN = """\
import sys
sys.argv = ["ociworks-runtime", "--root", {root!r}, *{words!r}]
from ociworks.runtime.cli import program
program()
"""
LIST = """\
from ociworks import _packs
pack = _packs.use("list")
import ociworks.runtime.cli._state as loaded
"""


class Copy:
    """A copy of the package that commands may write compiled modules in."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.root = place.parent / "root"
        self.root.mkdir(0o700, exist_ok=True)

    @property
    def pack(self) -> Path:
        return self.place / "ociworks/__pycache__" / PACK

    def python(self, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment = {
            **kept,
            "PYTHONPATH": str(self.place),
            "OCIWORKS_UNSAFE_INSTALLATION": "1",
            **environment,
        }
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env=environment, cwd=self.place, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.python(RUN.format(root=str(self.root), words=words), **environment)

    def told(self, code: str) -> str:
        done = self.python(code)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def loader(self) -> str:
        return self.told(LIST + "print(type(loaded.__loader__).__name__)")


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    """Without what nobody has compiled yet."""
    source = Path(ociworks.__file__).parent
    shutil.copytree(
        source, tmp_path / "first/ociworks", ignore=shutil.ignore_patterns("__pycache__", "cri", "image")
    )
    return Copy(tmp_path / "first")


@pytest.fixture
def packed(copy: Copy) -> Copy:
    """With the pack of one command."""
    done = copy.run("list")
    assert done.returncode == 0, done.stderr
    assert copy.pack.exists()
    return copy


def test_a_command_finds_what_it_needs_in_one_file(packed: Copy) -> None:
    """The second time; then it has nothing to add."""
    assert packed.loader() == "_Loader"
    before = packed.pack.stat()
    assert packed.run("list").returncode == 0
    assert packed.pack.stat().st_ino == before.st_ino
    assert before.st_mode & 0o777 == 0o644
    assert not list(packed.pack.parent.glob("*.pack.*"))


def test_a_module_of_a_pack_is_like_any_other(packed: Copy) -> None:
    """It has its file, its source, and can be loaded again."""
    told = packed.told(
        LIST + "import importlib, inspect\n"
        "assert loaded.__cached__ == pack._path\n"
        "assert 'def main' in inspect.getsource(loaded)\n"
        "again = importlib.reload(loaded)\n"
        "import ociworks.runtime as package\n"
        "print(loaded.__file__, again.main.__code__.co_filename, package.__path__)"
    )
    source = str(packed.place / "ociworks/runtime/cli/_state.py")
    assert told == f"{source} {source} {[str(packed.place / 'ociworks/runtime')]}"


def test_what_has_changed_is_imported_anew(packed: Copy) -> None:
    """A source of another time or size than the one that was packed; afterwards it is packed as it is now."""
    source = packed.place / "ociworks/runtime/cli/_state.py"
    source.write_text(source.read_text() + "\nCHANGED = True\n")
    assert packed.told(LIST + "print(loaded.CHANGED)") == "True"
    assert packed.run("list").returncode == 0
    assert packed.loader() == "_Loader"
    assert packed.told(LIST + "print(loaded.CHANGED)") == "True"
    info = source.stat()
    source.write_text(source.read_text().replace("CHANGED = True", "CHANGED = None"))
    os.utime(source, ns=(info.st_atime_ns, info.st_mtime_ns + 1))
    assert packed.loader() == "SourceFileLoader"


def test_a_package_that_was_moved_has_no_packs(packed: Copy) -> None:
    """Its old place may hold another version."""
    moved = Copy(packed.place.with_name("second"))
    shutil.copytree(packed.place, moved.place)
    assert moved.told(LIST + "print(loaded.__file__)").startswith(str(moved.place))
    assert moved.loader() == "SourceFileLoader"
    assert moved.run("list").returncode == 0
    assert moved.loader() == "_Loader"


@pytest.mark.parametrize(
    "damage", [b"", b"\0", bytes(8), bytes(4096), b"\xff" * 4096, b"\1" + bytes(7) + b"N"]
)
def test_a_damaged_pack_is_none(packed: Copy, damage: bytes) -> None:
    """Anything else in its place: the modules are imported as ever, and the next command writes it anew."""
    packed.pack.write_bytes(damage)
    assert packed.loader() == "SourceFileLoader"
    assert packed.run("list").returncode == 0
    assert packed.loader() == "_Loader"


def test_a_pack_that_was_cut_off_is_none(packed: Copy) -> None:
    """A host that lost power, say."""
    whole = packed.pack.read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 100):
        packed.pack.write_bytes(whole[:length])
        assert packed.loader() == "SourceFileLoader"


def test_nothing_is_written_where_it_is_not_wanted(copy: Copy) -> None:
    """By the variable, by a command that failed, or into a directory that is not there."""
    assert copy.run("list", PYTHONDONTWRITEBYTECODE="1").returncode == 0
    assert copy.run("list", PYTHONPYCACHEPREFIX=str(copy.place / "elsewhere")).returncode == 0
    assert copy.run("list", "--nonsense").returncode == 1
    assert not copy.pack.exists()


def test_a_pack_that_cannot_be_written_is_no_error(copy: Copy) -> None:
    """Somebody else's installation, or a file in the way."""
    copy.pack.parent.mkdir(exist_ok=True)
    copy.pack.mkdir()
    done = copy.run("list")
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(copy.pack.parent.glob("*.pack.*"))
    assert copy.run("list").returncode == 0


def test_the_helper_is_packed_by_who_starts_it(copy: Copy) -> None:
    """It writes nothing itself (RT-02); its modules come from the pack, of which it keeps nothing."""
    code = (
        "import os\nfrom ociworks.runtime.launcher import Launcher\n"
        "launcher = Launcher()\n"
        "launcher.scratch('one', {place!r})\nprint(os.path.isdir({place!r}))\n"
        "launcher.close()\nprint(os.path.isdir({place!r}))\n"
    ).format(place=str(copy.root / "scratch"))
    helper = copy.pack.with_name(f"helper.{sys.implementation.cache_tag}.pack")
    for _ in range(2):
        assert copy.told(code).split() == ["True", "False"]
        assert helper.exists()
    first = helper.stat().st_ino
    shutil.rmtree(copy.place / "ociworks/runtime/_init/__pycache__")
    assert copy.told(code).split() == ["True", "False"]
    assert helper.stat().st_ino == first
    assert not list((copy.place / "ociworks/runtime/_init/__pycache__").glob("launcher.*"))
