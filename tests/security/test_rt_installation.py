"""RT-02: an interpreter or packages that somebody else may write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks.runtime import _installed as installed
from tests.ordinary import NOBODY, interpreter, readable_copy
from tests.runtime.boxes import box, with_linux
from tests.security.test_rt_runtime import LOADER, compiled

root_only = pytest.mark.skipif(
    os.geteuid() != 0 or not installed._is_host_root(), reason="needs root: files of other users"
)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory below a sticky one that everybody may write, as /tmp is, with a copy of the package."""
    monkeypatch.delenv(installed.UNSAFE, raising=False)
    with tempfile.TemporaryDirectory(prefix="ociworks-tests-") as name:
        os.chmod(name, 0o755)
        readable_copy(Path(name, "library"), "ociworks", "attr", "attrs", "pyseccomp")
        shutil.copy(os.path.realpath(sys.executable), Path(name, "python"))
        installed.check_installation.cache_clear()
        yield Path(name)
    installed.check_installation.cache_clear()


def check(place: Path) -> None:
    installed.check_installation.cache_clear()
    installed.check_installation(str(place / "python"), str(place / "library/ociworks"))


@pytest.mark.root
@root_only
@pytest.mark.parametrize(
    "name",
    ["library", "library/ociworks", "library/ociworks/runtime/_init", "library/ociworks/runtime/_init/spawn.py",
     "library/ociworks/_linux/__pycache__", "library/ociworks/_linux/__pycache__/libc.pyc",
     "library/ociworks/__pycache__/helper.pack", "python", "."],
)  # fmt: skip
def test_rt_02_code_that_somebody_else_may_write(
    place: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Root refuses to start with it, and says which file and why; an explicit word allows it."""
    found = place / name
    if "__pycache__" in name:
        cached = place / name.partition("__pycache__")[0] / "__pycache__"
        cached.mkdir(exist_ok=True)
        for file in ("libc.pyc", "helper.pack"):
            (cached / file).touch(mode=0o644)
    check(place)
    mode = found.stat().st_mode
    for group, owner, bits in ((0, 0, 0o002), (NOBODY, 0, 0o020), (0, NOBODY, 0)):
        monkeypatch.delenv(installed.UNSAFE, raising=False)
        os.chown(found, owner, group)
        found.chmod(mode | bits)
        with pytest.raises(errors.LauncherError, match="only root may write") as caught:
            check(place)
        assert str(found.resolve()) in str(caught.value)
        monkeypatch.setenv(installed.UNSAFE, "1")
        check(place)


@pytest.mark.root
@root_only
@pytest.mark.parametrize("name", [".", "encodings", "encodings/__pycache__", "lib-dynload"])
def test_rt_02_a_library_that_somebody_else_may_write(
    place: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The standard library counts as much as this package."""
    library = place / "python3"
    (library / "encodings/__pycache__").mkdir(parents=True)
    (library / "lib-dynload").mkdir()
    monkeypatch.setattr(os, "__file__", str(library / "os.py"))
    check(place)
    (library / name).chmod(0o777)
    with pytest.raises(errors.LauncherError, match="only root may write"):
        check(place)


START = """
import sys
from ociworks import spec
from ociworks.runtime import Runtime
with Runtime(sys.argv[2]) as runtime:
    done = runtime.run(spec.Bundle.load(sys.argv[1]), sys.argv[3:], capture_output=True, timeout=60)
    sys.stdout.buffer.write(done.stdout + done.stderr)
"""


@pytest.mark.root
@root_only
def test_rt_02_no_container_starts_with_it(place: Path) -> None:
    """From outside: a package below a directory of somebody else's."""
    box(place / "bundle").save()
    command = [sys.executable, "-c", START, str(place / "bundle"), str(place / "state"), "echo", "started"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(place / "library")}
    os.chown(place / "library", NOBODY, NOBODY)
    told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert "LauncherError" in told.stderr
    assert told.stdout == ""
    environment[installed.UNSAFE] = "1"
    told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert told.stdout == "started\n", told.stderr


@pytest.mark.userns
def test_rt_02_an_ordinary_users_own_interpreter(place: Path) -> None:
    """Root in the container is the very user who owns the interpreter: it is sealed here too, and stays as it is."""
    if os.uname().machine != "x86_64":
        pytest.skip("the hostile loader is written for x86-64")
    bundle = box(place / "bundle", rootless=True)
    loader = bundle.rootfs / "lib64/ld-linux-x86-64.so.2"
    loader.parent.mkdir()
    compiled(LOADER, loader, "-static-pie", "-fPIE", "-nostdlib", "-fno-stack-protector")
    program = place / "python"
    identity: dict[str, object] = {}
    if os.geteuid() == 0:
        shutil.copy(os.path.realpath(interpreter(NOBODY)), program)
        mapped = (spec.runtime.IDMapping(container_id=0, host_id=NOBODY, size=1),)
        bundle = with_linux(bundle, uid_mappings=mapped, gid_mappings=mapped)
        bundle.save()
        subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", place], check=True)
        identity = {"user": NOBODY, "group": NOBODY, "extra_groups": ()}
    before = (program.read_bytes(), program.stat().st_ino, program.stat().st_ctime_ns)
    told = subprocess.run(
        [program, "-c", START, str(bundle.path), str(place / "state"), "/proc/self/exe"],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(place / "library")},
        capture_output=True, text=True, timeout=60, check=False, **identity,  # type: ignore[call-overload]
    )  # fmt: skip
    assert told.stdout == "loaded: srrr\n", told.stderr
    assert (program.read_bytes(), program.stat().st_ino, program.stat().st_ctime_ns) == before
