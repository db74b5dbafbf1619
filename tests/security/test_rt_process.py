"""Attacks on the process of a container (ATTACKS.md, RT): what reaches it, what it inherits, what is in force."""

from __future__ import annotations

import ast
import ctypes
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

import ociworks
from ociworks import errors, spec
from ociworks._linux import capabilities, libc, mount, path, process
from ociworks.runtime import Container, ExecOptions, RunOptions, Runtime
from ociworks.runtime._init import labels as label_operations
from ociworks.runtime._init.context import Context, StepError
from ociworks.runtime.plan import labels, ops
from ociworks.spec.runtime import (
    Capabilities,
    Hook,
    Hooks,
    Namespace,
    Rlimit,
    Seccomp,
    Syscall,
    SyscallArg,
    User,
)
from tests.runtime.boxes import changed, nothing_left, with_linux, with_process
from tests.runtime.shims import until_ended

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: other users, and the rights to attack")
SECRET = "sentinel-5f2c9a"
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


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The state root of a runtime of the test's own."""
    return tmp_path / "root"


@pytest.fixture
def runtime(root: Path) -> Runtime:
    """A runtime that the test ends itself."""
    return Runtime(root)


@pytest.fixture
def bundle(tmp_path: Path) -> spec.Bundle:
    """A bundle that runs."""
    from tests.runtime.boxes import box

    return box(tmp_path / "bundle")


def shell(runtime: Runtime, bundle: spec.Bundle, script: str, options: RunOptions | None = None) -> str:
    done = runtime.run(bundle, ["sh", "-c", script], capture_output=True, timeout=60, options=options)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def script(code: str, *args: str | Path, **options: object) -> str:
    """The output of a program of its own."""
    call = [sys.executable, "-c", code, *map(str, args)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


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
@root_only
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
@root_only
@pytest.mark.parametrize("tracing", [False, True])
def test_rt_09_a_container_that_looks(runtime: Runtime, bundle: spec.Bundle, tracing: bool) -> None:
    """Root inside sees nothing of the runtime while others join, not even with the right to trace."""
    seen = seen_by_attacker(runtime, bundle, tracing=tracing)
    hidden = (b"python", b"libc.so") if tracing else (b"python", b"libc.so", b"memfd", b"ociworks")
    for word in hidden:
        assert word not in seen


@pytest.mark.root
@root_only
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


def status_of(runtime: Runtime, bundle: spec.Bundle, options: RunOptions | None = None) -> dict[str, str]:
    lines = shell(runtime, bundle, "cat /proc/self/status", options).splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize(
    "names", [("ALL",), ("cap_kill",), ("CAP_KILL", "CAP_NOPE"), ("KILL",), ("CAP_63",), ("",)], ids=str
)
def test_rt_24_names_of_capabilities(runtime: Runtime, bundle: spec.Bundle, names: tuple[str, ...]) -> None:
    """Only the kernel's names, and those that it knows."""
    with runtime, pytest.raises((errors.InvalidSpec, errors.NotSupported)):
        runtime.plan(with_process(bundle, capabilities=Capabilities(bounding=names)))


def test_rt_24_sets_that_contradict(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Effective beyond permitted is an error, and no program; ambient beyond inheritable is not raised."""
    kill = ("CAP_KILL",)
    beyond = with_process(bundle, capabilities=Capabilities(bounding=kill, effective=kill))
    loose = Capabilities(bounding=kill, permitted=kill, effective=kill, ambient=kill)
    with runtime:
        with pytest.raises(errors.OciworksError):
            runtime.run(beyond, ["touch", "/tmp/ran"], timeout=60)
        found = status_of(runtime, with_process(bundle, capabilities=loose))
    assert not (bundle.rootfs / "tmp/ran").exists()
    assert found["CapAmb"] == found["CapInh"] == "0" * 16


def test_rt_24_an_exec_has_no_more(runtime: Runtime, bundle: spec.Bundle) -> None:
    """As much as the container, in each of the five sets; generated ones have two empty."""
    few = Capabilities(bounding=("CAP_KILL",), effective=("CAP_KILL",), permitted=("CAP_KILL",))
    with (
        runtime,
        runtime.create("few", with_process(bundle, capabilities=few), ["sleep", "1000"]) as container,
    ):
        container.start()
        own = [
            line for line in Path(f"/proc/{container.pid}/status").read_text().splitlines() if "Cap" in line
        ]
        found = container.exec(["grep", "Cap", "/proc/self/status"], timeout=60).stdout.decode().splitlines()
        assert found == own
        sets = {line.split(":")[0]: int(line.split()[1], 16) for line in found}
    assert sets == {"CapInh": 0, "CapPrm": 0x20, "CapEff": 0x20, "CapBnd": 0x20, "CapAmb": 0}


CALLER = """
import os, resource, signal, sys, threading
from ociworks import spec
from ociworks.runtime import Runtime
os.umask(0)
os.setsid()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
for number in (signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if os.geteuid() == 0:
    os.setgroups([4, 20, 27])
os.nice(3)
with Runtime(sys.argv[1]) as runtime:
    bundle = spec.Bundle.load(sys.argv[2])
    look = "umask; cat /proc/self/status; cat /proc/self/personality; cut -d' ' -f5,6 /proc/1/stat"
    done = runtime.run(bundle, ["sh", "-c", look], capture_output=True, timeout=60)
    sys.stdout.buffer.write(done.stdout)
"""


def test_rt_25_state_of_the_caller(root: Path, bundle: spec.Bundle) -> None:
    """A configuration that is silent gives the usual values, whatever the caller had made of its own."""
    bundle.save()
    lines = script(CALLER, root, bundle.path).splitlines()
    found = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
    assert lines[0] == "0022"
    for name in ("SigBlk", "SigIgn", "SigPnd", "ShdPnd"):
        assert found[name] == "0" * 16, name
    assert set(found["Groups"].split()) <= {"0"}
    assert lines[-2:] == ["00000000", "1 1"]


def test_rt_25_the_order_of_a_plan(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The documented one, with a filter before the rights are given up only where it needs them."""
    order = (
        "keyring session pin_root join_cgroups pivot rlimit no_new_privileges close_descriptors change_directory "
        "bounding identity capability_sets umask seccomp execute"
    ).split()
    limited = with_process(
        bundle, rlimits=(Rlimit(type="RLIMIT_NOFILE", soft=9, hard=99),), no_new_privileges=True
    )
    with runtime:
        names = [op.name for op in runtime.plan(limited).operations]
        places = [names.index(name) for name in order]
        assert places == sorted(places)
        early = [op.name for op in runtime.plan(with_process(limited, no_new_privileges=False)).operations]
    assert early.index("close_descriptors") < early.index("seccomp") < early.index("bounding")


@pytest.mark.root
@root_only
def test_rt_25_root_cannot_come_back(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A user without capabilities, with no-new-privileges: a set-uid shell of root's gives nothing."""
    (bundle.rootfs / "suid").mkdir()
    (bundle.rootfs / "suid/busybox").write_bytes((bundle.rootfs / "bin/busybox").read_bytes())
    (bundle.rootfs / "suid/busybox").chmod(0o4755)
    weak = with_process(
        bundle, user=User(uid=1000, gid=1000), no_new_privileges=True, capabilities=Capabilities(bounding=())
    )
    with runtime:
        found = status_of(runtime, weak)
        assert (found["Uid"], found["NoNewPrivs"], found["Seccomp"]) == ("1000\t1000\t1000\t1000", "1", "2")
        assert shell(runtime, weak, "/suid/busybox id -u").strip() == "1000"


FILTERS = {
    "no such action": Seccomp(default_action="SCMP_ACT_ALOW"),
    "no action": Seccomp(default_action=""),
    "no such architecture": Seccomp(default_action="SCMP_ACT_ERRNO", architectures=("SCMP_ARCH_Z80",)),
    "no such flag": Seccomp(default_action="SCMP_ACT_ERRNO", flags=("SECCOMP_FILTER_FLAG_NOPE",)),
    "a large errno": Seccomp(default_action="SCMP_ACT_ERRNO", default_errno_ret=99999),
    "an index": Seccomp(
        default_action="SCMP_ACT_ALLOW",
        syscalls=(
            Syscall(
                names=("read",),
                action="SCMP_ACT_ERRNO",
                args=(SyscallArg(index=9, value=1, op="SCMP_CMP_EQ"),),
            ),
        ),
    ),
    "an operator": Seccomp(
        default_action="SCMP_ACT_ALLOW",
        syscalls=(
            Syscall(names=("read",), action="SCMP_ACT_ERRNO", args=(SyscallArg(index=0, value=1, op="=="),)),
        ),
    ),
    "an unknown call that would be allowed": Seccomp(
        default_action="SCMP_ACT_ALLOW", syscalls=(Syscall(names=("mkdirr",), action="SCMP_ACT_ERRNO"),)
    ),
    "nobody to ask": Seccomp(
        default_action="SCMP_ACT_ALLOW", syscalls=(Syscall(names=("mkdir",), action="SCMP_ACT_NOTIFY"),)
    ),
    "asked about everything": Seccomp(default_action="SCMP_ACT_NOTIFY", listener_path="/l"),
    "asked about the question": Seccomp(
        default_action="SCMP_ACT_ALLOW",
        listener_path="/l",
        syscalls=(Syscall(names=("sendmsg",), action="SCMP_ACT_NOTIFY"),),
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_rt_26_filters_that_are_none(runtime: Runtime, bundle: spec.Bundle, name: str) -> None:
    """Each is an error before anything exists."""
    with runtime, pytest.raises(errors.InvalidSpec):
        runtime.plan(with_linux(bundle, seccomp=FILTERS[name]))


@pytest.mark.parametrize("architectures", [(), ("SCMP_ARCH_AARCH64",), ("SCMP_ARCH_X86",)], ids=str)
def test_rt_26_our_own_architecture_is_filtered(
    runtime: Runtime, bundle: spec.Bundle, architectures: tuple[str, ...]
) -> None:
    """Whatever the list says, calls of this machine are judged, and the filter is in force."""
    rule = Syscall(names=("mkdir", "mkdirat"), action="SCMP_ACT_ERRNO", errno_ret=errno.EDOM)
    filtered = Seccomp(default_action="SCMP_ACT_ALLOW", architectures=architectures, syscalls=(rule,))
    with runtime:
        text = shell(
            runtime, with_linux(bundle, seccomp=filtered), "mkdir /tmp/x; grep Seccomp: /proc/self/status"
        )
    assert text.split() == ["Seccomp:", "2"]
    assert not (bundle.rootfs / "tmp/x").exists()


def test_rt_26_a_kernel_that_refuses_the_filter(runtime: Runtime, bundle: spec.Bundle) -> None:
    """The program is not run."""
    with runtime:
        planned = runtime.plan(bundle)
        place = planned.find("seccomp")[0]
        broken = planned.replace(place, ops.seccomp(b"\xff" * 8, 0))
        with runtime.create_from(broken) as container, pytest.raises(errors.CreateFailed, match="seccomp"):
            container.start()


@pytest.mark.parametrize(
    "profile",
    ["unconfined\n", " unconfined", "a b", "x\0y", 'x"y', "x'y", "docker-default\nexec unconfined", "é"],
)
def test_rt_27_profiles_that_are_none(runtime: Runtime, bundle: spec.Bundle, profile: str) -> None:
    """Only the exact word means none."""
    with runtime, pytest.raises(errors.OciworksError):
        runtime.plan(with_process(bundle, apparmor_profile=profile))


@pytest.mark.parametrize("label", ["x", "a:b", "a:b:c\n", "a:b:c,d e", 'a:b:"c"', "a:b:c:s0\0", ":b:c"])
def test_rt_27_labels_that_are_none(
    runtime: Runtime, bundle: spec.Bundle, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They match a grammar, also where a kernel would take them."""
    monkeypatch.setattr(labels, "selinux_enabled", lambda: True)
    with runtime:
        for hostile in (with_process(bundle, selinux_label=label), with_linux(bundle, mount_label=label)):
            with pytest.raises(errors.InvalidSpec):
                runtime.plan(hostile)


def test_rt_27_what_the_kernel_lacks(
    runtime: Runtime, bundle: spec.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No module, or no such profile: an error before anything exists, also for an exec; ``unconfined`` is none."""
    monkeypatch.setattr(labels, "apparmor_enabled", lambda: False)
    monkeypatch.setattr(labels, "selinux_enabled", lambda: False)
    context = "system_u:system_r:container_t:s0:c1,c2"
    refused = [
        with_process(bundle, apparmor_profile="docker-default"),
        with_process(bundle, selinux_label=context),
        with_linux(bundle, mount_label=context),
    ]
    with runtime:
        for hostile in refused:
            with pytest.raises(errors.NotSupported, match="in force"):
                runtime.create("refused", hostile)
        with runtime.create("plain", bundle, ["sleep", "1000"]) as container:
            container.start()
            for options in (
                ExecOptions(apparmor_profile="docker-default"),
                ExecOptions(selinux_label=context),
            ):
                with pytest.raises(errors.NotSupported, match="in force"):
                    container.exec(["true"], options=options)
        assert not runtime.plan(with_process(bundle, apparmor_profile="unconfined")).find("label")
        monkeypatch.setattr(labels, "apparmor_enabled", lambda: True)
        monkeypatch.setattr(labels, "_loaded_profiles", lambda: frozenset({"other"}))
        with pytest.raises(errors.NotSupported, match="not loaded"):
            runtime.plan(with_process(bundle, apparmor_profile="docker-default", cwd="/tmp"))


@pytest.mark.parametrize(
    ("kind", "asked", "answer", "fine"),
    [
        ("apparmor", "docker-default", b"docker-default (enforce)\n", True),
        ("apparmor", "docker-default", b"docker-default (complain)\0", True),
        ("apparmor", "docker-default", b"unconfined\n", False),
        ("apparmor", "docker-default", b"", False),
        ("apparmor", "docker-default", b"docker-default-other (enforce)\n", False),
        ("selinux", "a:b:c:s0", b"a:b:c:s0\0", True),
        ("selinux", "a:b:c:s0", b"a:b:c:s0:c1\0", False),
        ("selinux", "a:b:c:s0", b"", False),
    ],
)
def test_rt_27_labels_are_read_back(
    tmp_path: Path, kind: str, asked: str, answer: bytes, fine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kernel then says decides whether the program is run."""
    context = Context.__new__(Context)
    file = tmp_path / "exec"
    file.write_bytes(b"")
    context.labels = {kind: os.open(file, os.O_RDWR)}
    monkeypatch.setattr("os.pread", lambda *_: answer)
    if fine:
        label_operations.label(context, kind, asked)
    else:
        with pytest.raises(StepError, match="expected"):
            label_operations.label(context, kind, asked)
    assert file.read_bytes() == (f"exec {asked}" if kind == "apparmor" else asked).encode()
    assert not context.labels


def test_rt_27_labels_of_mounts(
    runtime: Runtime, bundle: spec.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every new file system that takes one gets the context; the kernel's own do not; an explicit one stays."""
    monkeypatch.setattr(labels, "selinux_enabled", lambda: True)
    label = "system_u:object_r:container_file_t:s0:c1,c2"
    with runtime:
        planned = runtime.plan(with_linux(bundle, mount_label=label))
    shown = {op.args[2]: op.args[3] for op in planned.find("filesystem")}
    for place in ("/dev", "/dev/shm"):
        options = shown[place]
        assert isinstance(options, tuple)
        assert ("context", label) in options
    assert "context" not in str(shown["/proc"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel.shmmax", "1\n2"),
        ("kernel.shmmax", "1\0"),
        ("kernel/../x", "1"),
        ("kernel.core_pattern", "|/bin/sh"),
        ("kernel.shm_rmid_forced+kernel.core_pattern", "x"),
        ("vm.swappiness", "1"),
        ("net", "1"),
        ("net.ipv4.conf.eth0/../../x", "1"),
        (".".join(["net"] * 50), "1"),
        ("kernel.shmmax", "9" * 5000),
        ("net.ipv4=1.x", "1"),
    ],
)
def test_rt_29_settings_that_are_refused(
    runtime: Runtime, bundle: spec.Bundle, name: str, value: str
) -> None:
    """One key, one value, of a namespace that is the container's own."""
    with runtime, pytest.raises((errors.InvalidSpec, errors.NotSupported)):
        runtime.plan(with_linux(bundle, sysctl={name: value}))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("network", "net.ipv4.ip_forward"),
        ("ipc", "kernel.shmmax"),
        ("ipc", "fs.mqueue.msg_max"),
        ("uts", "kernel.domainname"),
        ("uts", "kernel.hostname"),
    ],
)
def test_rt_29_settings_of_shared_namespaces(
    runtime: Runtime, bundle: spec.Bundle, kind: str, name: str
) -> None:
    """Without the namespace it would be the host's: refused, and the host's value is what it was."""
    linux = bundle.spec.linux
    assert linux is not None
    shared = tuple(each for each in linux.namespaces if each.type != kind)
    file = Path("/proc/sys", *name.split("."))
    before = file.read_text() if file.exists() else ""
    hostile = with_linux(changed(bundle, hostname=None), namespaces=shared, sysctl={name: "1"})
    with runtime, pytest.raises((errors.InvalidSpec, errors.NotSupported)):
        runtime.run(hostile, ["true"], timeout=60)
    assert (file.read_text() if file.exists() else "") == before


@pytest.mark.root
@root_only
def test_rt_29_settings_that_are_made(runtime: Runtime, bundle: spec.Bundle) -> None:
    """In the container's namespaces, with both separators; the host's stay."""
    host = {
        name: Path("/proc/sys", name).read_text() for name in ("net/ipv4/ip_default_ttl", "kernel/msgmax")
    }
    settings = {"net.ipv4.ip_default_ttl": "77", "kernel/msgmax": "9000", "kernel.hostname": "named"}
    with runtime:
        text = shell(
            runtime,
            with_linux(changed(bundle, hostname=None), sysctl=settings),
            "cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax; hostname",
        )
    assert text.split() == ["77", "9000", "named"]
    assert {name: Path("/proc/sys", name).read_text() for name in host} == host


def at(**points: tuple[Hook, ...]) -> Hooks:
    return attrs.evolve(Hooks(), **points)  # type: ignore[arg-type]


@pytest.mark.parametrize("point", ["create_runtime", "create_container", "start_container"])
@pytest.mark.parametrize("kind", ["missing", "not executable", "a signal", "forks away"])
def test_rt_31_hooks_that_fail(
    runtime: Runtime, root: Path, bundle: spec.Bundle, tmp_path: Path, point: str, kind: str
) -> None:
    """Whatever it is, the container is not run, what undoes things is, and nothing stays."""
    shell_ = "/bin/sh"
    inside = bundle.rootfs / "plain"
    inside.write_text("")
    plain = "/plain" if point == "start_container" else str(inside)
    note = tmp_path / "pid"  # of what it leaves on the host; in the container that ends with it
    tell = f"echo $! > {note}; " if point == "create_runtime" else ""
    hook = {
        "missing": Hook(path="/no/such/hook"),
        "not executable": Hook(path=plain),
        "a signal": Hook(path=shell_, args=("sh", "-c", "kill -9 $$")),
        "forks away": Hook(path=shell_, args=("sh", "-c", f"sleep 1000 & {tell}exit 3")),
    }[kind]
    ended = Hook(path=shell_, args=("sh", "-c", f"cat > {tmp_path}/ended"))
    hooks = at(**{point: (hook,), "poststop": (ended,)})
    hooked = changed(bundle, hooks=hooks)
    with runtime:
        with pytest.raises(errors.CreateFailed, match="hook"):
            runtime.run(hooked, ["touch", "/tmp/ran"], timeout=60)
        assert '"stopped"' in (tmp_path / "ended").read_text()
    assert not (bundle.rootfs / "tmp/ran").exists()
    if note.exists():
        left = int(note.read_text())
        os.kill(left, signal.SIGKILL)
        until_ended(left)


@pytest.mark.parametrize("path_", ["bin/sh", "./sh", "../bin/sh", ""])
@pytest.mark.parametrize("timeout", [None, 0, -1])
def test_rt_31_hooks_that_are_none(
    runtime: Runtime, bundle: spec.Bundle, path_: str, timeout: int | None
) -> None:
    """A relative path and no time at all are errors before anything exists."""
    with runtime:
        with pytest.raises(errors.InvalidSpec):
            runtime.plan(changed(bundle, hooks=at(prestart=(Hook(path=path_, timeout=timeout),))))
        if timeout is not None:
            with pytest.raises(errors.InvalidSpec):
                runtime.plan(changed(bundle, hooks=at(prestart=(Hook(path="/bin/sh", timeout=timeout),))))


@pytest.mark.parametrize("point", ["create_runtime", "create_container"])
def test_rt_31_a_hook_that_hangs_with_children(
    runtime: Runtime, bundle: spec.Bundle, tmp_path: Path, point: str
) -> None:
    """When its time is over, all of its process group is killed; floods of output are bounded."""
    note = tmp_path / "pids"
    command = f"echo $$ > {note}; sleep 1000 & echo $! >> {note}; yes | head -c 9999999; wait"
    hook = Hook(path="/bin/sh", args=("sh", "-c", command), timeout=1)
    with runtime, pytest.raises(errors.CreateFailed, match="within 1 s"):
        runtime.create("hangs", changed(bundle, hooks=at(**{point: (hook,)})))
    if point == "create_runtime":
        deadline = time.monotonic() + 30
        while any(Path(f"/proc/{pid}").exists() for pid in note.read_text().split()):
            assert time.monotonic() < deadline
            threading.Event().wait(0.01)


def test_rt_31_images_have_no_hooks() -> None:
    """Nothing in an image's configuration becomes one."""
    from ociworks.spec.defaults import default_spec

    assert default_spec().hooks is None
