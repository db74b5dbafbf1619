"""Attacks on what the process of a container inherits (ATTACKS.md, RT-03 to RT-07).

Variables, threads, descriptors; and what would be cut on its way to the kernel.
"""

from __future__ import annotations

import ast
import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import ociworks
from ociworks import errors, spec
from ociworks._linux import capabilities, libc, mount, path, process
from ociworks.runtime import Container, ExecOptions, RunOptions, Runtime
from tests.runtime.boxes import nothing_left, with_process
from tests.security.programs import SECRET, script

LOADER = (
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "GLIBC_TUNABLES",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONINSPECT",
    "PYTHONOPTIMIZE",
    "OPENSSL_CONF",
    "GCONV_PATH",
    "LOCPATH",
    "TMPDIR",
    "_LIBCONTAINER_CLONED_BINARY",
    "OCIWORKS_SEALED",
)


ENVIRONMENT = """
import sys, threading
from ociworks import spec
from ociworks.runtime import Runtime
with Runtime(sys.argv[1]) as runtime:
    bundle = spec.Bundle.load(sys.argv[2])
    done = runtime.run(bundle, ["sh", "-c", "cat /proc/*/environ; env"], capture_output=True, timeout=60)
    print(done.stdout)
    launcher = runtime._host.launcher().pid
    print(repr([open(f"/proc/{launcher}/{name}").read().split("\\0") for name in ("environ", "cmdline")]))
"""


def test_rt_03_environment(root: Path, bundle: spec.Bundle) -> None:
    """Nothing of the caller's environment is in our stages or in the container; the configuration's comes last."""
    hostile = {name: f"/{SECRET}" for name in LOADER if not name.startswith(("LD_", "PYTHON"))}
    hostile |= {"LD_LIBRARY_PATH": f"/{SECRET}", "PYTHONOPTIMIZE": "2", "PATH": os.environ["PATH"]}
    given = tuple(f"{name}=/{SECRET}-inside" for name in LOADER)
    named = with_process(bundle, env=("PATH=/bin", *given))
    named.save()
    said = script(ENVIRONMENT, root, named.path, env=hostile)
    assert f"/{SECRET}-inside" in said  # the program gets what its configuration says
    assert f"={'/' + SECRET}\\0" not in said
    assert f"/{SECRET}\\n" not in said
    stage = said.splitlines()[-1]
    assert SECRET not in stage
    environment, command = ast.literal_eval(stage)
    assert environment == [""]
    assert {"-I", "-S", "-B"} <= set(command)


@pytest.mark.parametrize(("variables", "compiled"), [({}, True), ({"PYTHONDONTWRITEBYTECODE": "1"}, False)])
def test_rt_03_the_caller_compiles_what_the_installer_did_not(
    tmp_path: Path, variables: dict[str, str], *, compiled: bool
) -> None:
    """The launcher writes nothing (``-B``), so whoever may write compiled modules does it for it, once."""
    package = Path(ociworks.__file__).parent
    copy = tmp_path / "ociworks"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    code = "from ociworks.runtime import _sealed; _sealed.start('ociworks.runtime._init.launcher')"
    environment = {"PYTHONPATH": str(tmp_path), "OCIWORKS_UNSAFE_INSTALLATION": "1", **variables}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    found = {path.name.partition(".")[0] for path in (copy / "runtime/_init").glob("__pycache__/*.pyc")}
    modules = {path.stem for path in (copy / "runtime/_init").glob("*.py")}
    assert found == (modules if compiled else set())
    if compiled:  # an upgrade replaces a module
        source = copy / "runtime/_init/spawn.py"
        (old,) = (copy / "runtime/_init/__pycache__").glob("spawn.*.pyc")
        os.utime(old, (0, 0))
        os.utime(source, (86_400, 86_400))
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        assert int.from_bytes(old.read_bytes()[8:12], "little") == 86_400


THREADS = """
import os, sys, threading
from ociworks import spec
from ociworks.runtime import Runtime
stop = threading.Event()
def busy():
    import logging
    while not stop.wait(0.001):
        logging.getLogger("x").debug("held")
threads = [threading.Thread(target=busy) for _ in range(4)]
for thread in threads: thread.start()
def facts():
    return [os.readlink(f"/proc/self/task/{task}/ns/{kind}") for task in sorted(os.listdir("/proc/self/task"))
            for kind in os.listdir("/proc/self/ns")] + [os.getresuid(), os.getgroups(), os.getcwd()]
before = facts()
with Runtime(sys.argv[1]) as runtime:
    bundle = spec.Bundle.load(sys.argv[2])
    with runtime.create("c", bundle, ["sleep", "1000"]) as container:
        container.start()
        for _ in range(5):
            container.exec(["true"], timeout=60)
        launcher = runtime._host.launcher().pid
        print("tasks", len(os.listdir(f"/proc/{launcher}/task")))
    print("same", facts() == before)
stop.set()
"""


def test_rt_05_threads_of_the_caller(root: Path, bundle: spec.Bundle) -> None:
    """Namespaces and identities are changed in a process of one thread; the caller's threads keep theirs."""
    bundle.save()
    assert script(THREADS, root, bundle.path).split() == ["tasks", "1", "same", "True"]


CALLS: dict[str, Callable[[], object]] = {
    "uid beyond": lambda: process.prctl(1, 1 << 64),
    "flags beyond": lambda: process.unshare(1 << 32),
    "negative flags": lambda: process.unshare(-1),
    "kinds beyond": lambda: process.setns(0, 1 << 31),
    "register": lambda: libc.syscall(39, 1 << 64, call="getpid"),
    "negative register": lambda: libc.syscall(39, -(1 << 63) - 1, call="getpid"),
    "boolean": lambda: libc.check_uint(True, 32, "x"),
    "personality": lambda: process.set_personality(1 << 32),
    "capabilities": lambda: capabilities.set_capabilities(1 << 64, 0, 0),
    "hostname": lambda: process.set_hostname("a\0b"),
    "keyring": lambda: process.join_session_keyring("a\0b"),
    "path": lambda: path.openat2(-100, "/etc\0/passwd", os.O_RDONLY),
    "bytes": lambda: path.openat2(-100, b"/etc\0", os.O_RDONLY),
    "mount": lambda: mount.clone_tree(-100, "/\0x"),
    "filter": lambda: process.install_seccomp(b"1234567", 0),
    "long filter": lambda: process.install_seccomp(bytes(8 << 16), 0),
    "policy": lambda: process.set_memory_policy(1 << 32, b""),
}


@pytest.mark.parametrize("name", CALLS)
def test_rt_06_the_boundary_of_ctypes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is an error of a known type before the kernel is entered: nothing is cut or wrapped."""
    entered: list[object] = []
    monkeypatch.setattr(libc, "_syscall", lambda *args: entered.append(args))
    with pytest.raises((OverflowError, ValueError)):
        CALLS[name]()
    assert not entered


def test_rt_06_prototypes_and_sizes() -> None:
    """Every function that we call has types; structures have the kernel's sizes; descriptors close on exec."""
    for name in ("prctl", "setns", "unshare", "sethostname", "umount2", "capset", "fstatfs", "personality"):
        assert getattr(libc.libc, name).argtypes, name
        assert getattr(libc.libc, name).restype is ctypes.c_int
    assert ctypes.sizeof(process._CloneArgs) == 88
    assert ctypes.sizeof(process._SchedAttr) == 56
    assert ctypes.sizeof(mount._MountAttr) == 32
    fd = path.openat2(-100, "/", os.O_PATH)
    try:
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


def test_rt_07_descriptors(runtime: Runtime, root: Path, bundle: spec.Bundle) -> None:
    """Created: the streams, the barrier and what is passed, and no directory; then exactly what is passed."""
    places = [os.open("/", os.O_RDONLY | os.O_DIRECTORY) for _ in range(3)]
    extra = os.open("/etc/passwd", os.O_RDONLY)
    try:
        for fd in (*places, extra):
            os.set_inheritable(fd, True)
        os.dup2(places[0], 200, inheritable=True)
        passing = RunOptions(pass_fds=(extra,))
        with (
            runtime,
            runtime.create(
                "fds", bundle, ["sleep", "1000"], stdin=subprocess.DEVNULL, options=passing
            ) as container,
        ):
            held = descriptors(container)
            assert sorted(held)[:4] == [0, 1, 2, 3]
            assert held[3] == "/etc/passwd"
            assert len(held) <= 6  # the barrier, and our channel until it is closed
            assert all(target.startswith("socket:") for fd, target in held.items() if fd > 3)
            container.start()
            assert sorted(descriptors(container)) == [0, 1, 2, 3]
            with container.spawn(["sleep", "1000"], options=ExecOptions(pass_fds=(extra, extra))) as further:
                assert sorted(map(int, os.listdir(f"/proc/{further.pid}/fd"))) == [0, 1, 2, 3, 4]
            with container.spawn(["sleep", "1000"]) as further:
                assert sorted(map(int, os.listdir(f"/proc/{further.pid}/fd"))) == [0, 1, 2]
    finally:
        for fd in (*places, extra, 200):
            os.close(fd)


def descriptors(container: Container) -> dict[int, str]:
    """What the first process has open."""
    folder = f"/proc/{container.pid}/fd"
    return {int(name): os.readlink(f"{folder}/{name}") for name in os.listdir(folder)}


def test_rt_07_a_closed_one_is_an_error(runtime: Runtime, root: Path, bundle: spec.Bundle) -> None:
    """A hole is not filled with something else."""
    with runtime:
        runtime.run(bundle, ["true"], timeout=60)
        with nothing_left(root), pytest.raises(errors.CreateFailed, match="descriptor 987"):
            runtime.run(bundle, ["true"], timeout=60, options=RunOptions(pass_fds=(987,)))
