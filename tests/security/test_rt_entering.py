"""Attacks on processes that enter a container: on their directory, and by those who look (RT-08, RT-09)."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ociworks import errors, spec
from ociworks.runtime import ExecOptions, Runtime
from ociworks.spec.runtime import Capabilities, Namespace, User
from tests.runtime.boxes import shell, with_linux, with_process
from tests.security.programs import SECRET


@pytest.mark.parametrize(
    "cwd",
    [*(f"/proc/self/fd/{number}" for number in (3, 4, 5, 6, 7, 8, 9, 200)), "/work", "/proc/1/root/work"],
)
def test_rt_08_working_directory(runtime: Runtime, bundle: spec.Bundle, cwd: str) -> None:
    """It is inside the root, by the kernel's word, or nothing is run; of a container and of an exec."""
    (bundle.rootfs / "work").symlink_to("/proc/self/fd/8")
    outside = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(outside, True)
    try:
        moved = with_process(bundle, cwd=cwd)
        with runtime:
            with pytest.raises(errors.OciworksError):
                runtime.run(moved, ["touch", "/tmp/ran"], timeout=60)
            with runtime.create("plain", bundle, ["sleep", "1000"]) as container:
                container.start()
                with pytest.raises(errors.OciworksError):
                    container.exec(["touch", "/tmp/ran"], options=ExecOptions(cwd=cwd), timeout=60)
    finally:
        os.close(outside)
    assert not (bundle.rootfs / "tmp/ran").exists()


@pytest.mark.root
def test_rt_08_directories_for_one_of_both(runtime: Runtime, bundle: spec.Bundle) -> None:
    """One that only the user may enter, one that only the runtime may enter, and one that is not there."""
    for name, owner, mode in (("users", 1000, 0o700), ("roots", 0, 0o700)):
        (bundle.rootfs / name).mkdir(mode=mode)
        os.chown(bundle.rootfs / name, owner, owner)
    weak = Capabilities()
    with runtime:
        for cwd in ("/users", "/roots", "/made/for/it"):
            user = with_process(bundle, cwd=cwd, user=User(uid=1000, gid=1000), capabilities=weak)
            assert shell(runtime, user, "echo $PWD").strip() == cwd


ATTACKER = """
while true; do for name in /proc/[0-9]*; do
  cat $name/environ $name/maps 2>/dev/null; ls -l $name/fd $name/cwd $name/root $name/exe 2>/dev/null
done; done > /seen 2>/dev/null
"""


def seen_by_attacker(
    runtime: Runtime, bundle: spec.Bundle, *, tracing: bool, options: ExecOptions | None = None
) -> bytes:
    """What a container finds in its procfs while processes enter it; nothing of the host's in any case."""
    more = ("CAP_SYS_PTRACE",) if tracing else ()
    caps = ("CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", *more)
    strong = Capabilities(bounding=caps, effective=caps, permitted=caps)
    hostile = with_process(bundle, capabilities=strong, env=(f"OWN={SECRET}",))
    with runtime, runtime.create("looks", hostile, ["sh", "-c", ATTACKER]) as container:
        container.start()
        for _ in range(30):
            assert container.exec(["true"], timeout=60, options=options).returncode == 0
        container.kill("KILL")
        container.wait(60)
    seen = (bundle.rootfs / "seen").read_bytes()
    assert b"/bin/busybox" in seen
    for word in (str(bundle.path).encode(), b"/sys/fs/cgroup", b"/run/", b"PATH=/root"):
        assert word not in seen
    return seen


@pytest.mark.root
@pytest.mark.parametrize("tracing", [False, True])
def test_rt_09_a_container_that_looks(runtime: Runtime, bundle: spec.Bundle, tracing: bool) -> None:
    """Root inside sees nothing of the runtime while others join, not even with the right to trace."""
    seen = seen_by_attacker(runtime, bundle, tracing=tracing)
    hidden = (b"python", b"libc.so") if tracing else (b"python", b"libc.so", b"memfd", b"ociworks")
    for word in hidden:
        assert word not in seen


@pytest.mark.root
@pytest.mark.parametrize("tracing", [False, True], ids=["root", "tracer"])
def test_rt_09_a_container_that_looks_at_an_interpreter(
    runtime: Runtime, bundle: spec.Bundle, tracing: bool
) -> None:
    """The same of a further process that only an interpreter can make.

    The kernel lets CAP_SYS_PTRACE read any process of its user namespace, so there it sees that an interpreter runs:
    without an environment, without descriptors of the host's files or directories, from a sealed copy.
    """
    seen = seen_by_attacker(runtime, bundle, tracing=tracing, options=ExecOptions(home=True))
    if not tracing:
        for word in (b"python", b"memfd", b"ociworks", b"libc.so"):
            assert word not in seen


def test_rt_09_namespaces_that_are_none(
    runtime: Runtime, root: Path, bundle: spec.Bundle, tmp_path: Path
) -> None:
    """A file, a FIFO, a dangling link and another kind of namespace are errors, at once."""
    linux = bundle.spec.linux
    assert linux is not None
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("nowhere")
    with runtime:
        for place in (
            tmp_path / "file",
            tmp_path / "fifo",
            tmp_path / "link",
            Path("/proc/self/ns/uts"),
            Path("/"),
        ):
            kept = tuple(each for each in linux.namespaces if each.type != "ipc")
            joined = with_linux(bundle, namespaces=(*kept, Namespace(type="ipc", path=str(place))))
            with pytest.raises(errors.CreateFailed):
                runtime.run(joined, ["touch", "/tmp/ran"], timeout=60)
    assert not (bundle.rootfs / "tmp/ran").exists()


def test_rt_09_an_init_that_ends_meanwhile(runtime: Runtime, bundle: spec.Bundle) -> None:
    """An exec into a container that ends is an error, not a process somewhere else."""
    with runtime:
        for round_ in range(8):
            with runtime.create(f"short-{round_}", bundle, ["sleep", "0.05"]) as container:
                container.start()
                started = time.monotonic()
                while time.monotonic() - started < 30:
                    try:
                        container.exec(["true"], timeout=60)
                    except errors.OciworksError:
                        break
                assert container.wait(60) == 0
