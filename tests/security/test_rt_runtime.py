"""RT-01, 04, 12, 16, 17: what an image or a container may not do to the runtime and, through it, to the host."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ociworks
from ociworks import errors, spec
from ociworks.runtime import Runtime
from ociworks.runtime import _sealed as sealed
from ociworks.runtime._host import Host
from ociworks.spec.runtime import Mount
from tests.runtime.boxes import changed, look, with_linux, with_process

HUNTER = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void attack(const char *name)
{
    char again[64];
    struct stat found, shell;
    int fd = open(name, O_RDONLY);
    if (fd < 0)
        return;
    fstat(fd, &found);
    stat("/bin/busybox", &shell);
    if (found.st_dev == shell.st_dev) { /* a program of the image */
        close(fd);
        return;
    }
    int seals = fcntl(fd, F_GET_SEALS);
    snprintf(again, sizeof again, "/proc/self/fd/%d", fd);
    int direct = open(name, O_RDWR), later = open(again, O_WRONLY | O_TRUNC), cut = truncate(again, 0);
    printf("seals %x written %d\n", seals, direct >= 0 || later >= 0 || cut == 0);
    close(fd);
}

int main(void)
{
    char own[16], name[300];
    snprintf(own, sizeof own, "%d", (int)getpid());
    while (access("/tmp/enough", F_OK) != 0) {
        DIR *all = opendir("/proc");
        for (struct dirent *each; (each = readdir(all)) != NULL;) {
            if (atoi(each->d_name) == 0 || atoi(each->d_name) == atoi(own))
                continue;
            snprintf(name, sizeof name, "/proc/%s/exe", each->d_name);
            attack(name);
        }
        closedir(all);
    }
    return 0;
}
"""
LOADER = r"""
static long call(long n, long a, long b, long c)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

void _start(void)
{
    char handle[] = "/proc/self/fd/0", exe[] = "/proc/self/exe", text[] = "loaded: ....\n";
    long fd = call(2, (long)exe, 0, 0);
    handle[14] = '0' + fd;
    text[8] = fd >= 0 && call(72, fd, 1034, 0) == 15 ? 's' : '-';       /* F_GET_SEALS */
    text[9] = call(2, (long)exe, 2, 0) >= 0 ? 'W' : 'r';                /* O_RDWR */
    text[10] = call(2, (long)handle, 01001, 0) >= 0 ? 'W' : 'r';        /* O_WRONLY | O_TRUNC */
    text[11] = call(76, (long)exe, 0, 0) == 0 ? 'W' : 'r';              /* truncate */
    call(1, 1, (long)text, 13);
    call(60, 0, 0, 0);
}
"""


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host in which nothing may change."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "precious").write_text("precious\n")
    yield place
    assert os.listdir(place) == ["precious"]
    assert (place / "precious").read_text() == "precious\n"


def compiled(source: str, place: Path, *flags: str) -> None:
    """A C program; the test is skipped without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    text = place.with_suffix(".c")
    text.write_text(source)
    subprocess.run([compiler, "-O1", *flags, "-o", place, text], check=True, timeout=60)


def capable(*names: str) -> spec.runtime.Capabilities:
    return spec.runtime.Capabilities(bounding=names, effective=names, permitted=names)


def our_files() -> dict[str, tuple[object, ...]]:
    """The interpreter, its library, and this package: content, inode, times."""
    library = Path(sys.base_prefix, "lib").glob("libpython3*.so*")
    package = Path(ociworks.__file__).parent
    found = [Path(os.path.realpath(sys.executable)), *library, *package.glob("runtime/_init/*.py")]
    facts: dict[str, tuple[object, ...]] = {}
    for path in found:
        info = path.stat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        facts[str(path)] = (digest, info.st_ino, info.st_mtime_ns, info.st_ctime_ns, info.st_mode)
    return facts


# --- RT-01 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("args", [["/proc/self/exe"], ["/proc/thread-self/exe", "-c", "1"], ["/script"]])
def test_rt_01_the_entry_point_is_our_interpreter(
    runtime: Runtime, bundle: spec.Bundle, args: list[str], listed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that executes us again with a loader of its own holds a sealed copy, which it cannot write.

    A process that was made by a list has no interpreter: only the program that carries lists out, which finds none.
    """
    if not listed:
        monkeypatch.setattr(Host, "lists", lambda _: None)
    if os.uname().machine != "x86_64":
        pytest.skip("the hostile loader is written for x86-64")
    loader = bundle.rootfs / "lib64/ld-linux-x86-64.so.2"
    loader.parent.mkdir()
    compiled(LOADER, loader, "-static-pie", "-fPIE", "-nostdlib", "-fno-stack-protector")
    (bundle.rootfs / "script").write_text("#!/proc/self/exe\n")
    (bundle.rootfs / "script").chmod(0o755)
    before = our_files()
    done = runtime.run(bundle, args, capture_output=True, timeout=60)
    expected = (b"", 255) if listed else (b"loaded: srrr\n", 0)
    assert (done.stdout, done.returncode) == expected
    assert our_files() == before


@pytest.mark.parametrize("powerful", [False, True])
def test_rt_01_a_hunter_of_executables(runtime: Runtime, bundle: spec.Bundle, *, powerful: bool) -> None:
    """A loop that opens every other process's program while we come in: nothing of ours, or a sealed copy."""
    compiled(HUNTER, bundle.rootfs / "bin/hunter", "-static")
    if powerful:
        assert bundle.spec.process is not None
        all_of_them = capable("CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE")
        bundle = with_process(bundle, capabilities=all_of_them)
    before = our_files()
    with runtime.create("hunted", bundle, ["sh", "-c", "hunter > /tmp/said"]) as container:
        container.start()
        for _ in range(20):
            assert container.exec(["echo", "in"], timeout=60).stdout == b"in\n"
            with contextlib.suppress(errors.CommandNotFound):
                container.exec(["/not/there"], timeout=60)
        (bundle.rootfs / "tmp/enough").touch()
        assert container.wait(timeout=60) == 0
    said = (bundle.rootfs / "tmp/said").read_text()
    assert set(said.splitlines()) <= {"seals f written 0"}
    assert our_files() == before


# --- RT-04 ------------------------------------------------------------------------------------------------------------

POISON = "import os\nos.close(os.open('/tmp/executed', os.O_CREAT))\n"
MODULES = (
    "linecache",
    "traceback",
    "ctypes/util",
    "encodings/cp037",
    "encodings/idna",
    "sitecustomize",
    "json",
    "pwd",
)
WATCH = """\
import os as _os, sys as _sys
_log = _os.open({log!r}, _os.O_WRONLY | _os.O_APPEND | _os.O_CREAT | _os.O_CLOEXEC, 0o600)
_os.dup2(_log, 900, inheritable=False)
_old = _os.stat("/")
def _watch(event, args):
    if event not in {events!r}:
        return
    now = _os.stat("/")
    if (now.st_dev, now.st_ino) != (_old.st_dev, _old.st_ino) and args[0] != "/":
        _os.write(900, ("%s %r\\n" % (event, args[:1])).encode())
_sys.addaudithook(_watch)
"""
EVENTS = (
    "import", "open", "compile", "ctypes.dlopen", "os.listdir", "os.scandir", "os.posix_spawn", "subprocess.Popen",
    "socket.getaddrinfo", "socket.gethostbyname",
)  # fmt: skip


def poisoned(bundle: spec.Bundle) -> None:
    """Hostile modules, and FIFOs, wherever the host has its library and our package."""
    for place in (os.path.dirname(os.__file__), os.path.dirname(ociworks.__file__)):
        inside = bundle.rootfs / place.lstrip("/")
        for name in MODULES:
            (inside / name).parent.mkdir(parents=True, exist_ok=True)
            (inside / name).with_suffix(".py").write_text(POISON)
        for name in ("os.py", "errors/__init__.py", "runtime/_init/execute.py", "runtime/_init/start.py"):
            (inside / name).parent.mkdir(parents=True, exist_ok=True)
            os.mkfifo(inside / name)
        (inside / "evil.pth").write_text(POISON.replace("\n", ";"))
    (bundle.rootfs / "etc/nsswitch.conf").write_text("passwd: evil\n")
    os.mkfifo(bundle.rootfs / "etc/locale.alias")


def failures(runtime: Runtime, bundle: spec.Bundle) -> None:
    """A program, and failures of several kinds, in a new container and in one that is there."""
    assert look(runtime, bundle, "echo through") == ["through"]
    for hostile in (
        with_process(bundle, args=("/not/there",)),
        with_process(bundle, args=("/etc/passwd",)),
        with_process(bundle, cwd="/etc/passwd"),
        with_process(bundle, args=("/\udcff\n",)),
    ):
        with pytest.raises(errors.CreateFailed):
            runtime.run(hostile, capture_output=True, timeout=60)
    with runtime.create("joined", bundle, ["sleep", "1000"]) as container:
        container.start()
        assert container.exec(["echo", "in"], timeout=60).stdout == b"in\n"
        with pytest.raises(errors.CommandNotFound):
            container.exec(["nothing-of-this-name"], timeout=60)
        assert hostile.spec.process is not None
        with pytest.raises(errors.CreateFailed):
            container.exec(hostile.spec.process, timeout=60)


def test_rt_04_hostile_modules_where_the_host_has_its_own(
    runtime: Runtime, bundle: spec.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the image is imported, nothing is read for a traceback (a FIFO would block), in success or failure."""
    poisoned(bundle)
    for name in ("json", "os", "marshal", "ociworks"):
        (bundle.path / f"{name}.py").write_text("raise SystemExit(77)\n")
    monkeypatch.chdir(bundle.path)
    failures(runtime, bundle)
    assert not (bundle.rootfs / "tmp/executed").exists()


def test_rt_04_nothing_is_loaded_after_the_root_switch(
    tmp_path: Path, bundle: spec.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter's own audit events say so, from the root switch to execve."""
    log = tmp_path / "log"
    watch = WATCH.format(log=str(log), events=EVENTS).replace("{", "{{").replace("}", "}}")
    monkeypatch.setattr(sealed, "_BOOT", watch + sealed._BOOT)
    with Runtime(tmp_path / "root") as runtime:
        failures(runtime, bundle)
    assert log.read_text() == ""


# --- RT-12 ------------------------------------------------------------------------------------------------------------

PLANTED = """
mount -t tmpfs planted /proc
mkdir -p /proc/1 /proc/sys/kernel
ln -s 1 /proc/self
touch /proc/1/oom_score_adj /proc/sys/kernel/msgmax
"""
COVERED = """
mount -t proc proc /proc
mount -t tmpfs planted /proc/sys/kernel
touch /proc/sys/kernel/msgmax
"""
SWITCHED = "mount -t proc proc /proc; mount --bind /proc/sys/kernel/core_pattern /proc/sys/kernel/msgmax"
MOVED = "mkdir p; mount -t proc proc p; mount --bind p/sys /proc; mkdir -p q; mount --bind p/sys p/self/attr || true"
ABOVE = """
mount -t proc proc /proc
mount -t proc proc /proc/sys
"""
WRITE = """
import sys
from ociworks.runtime._init import procfs
from ociworks.runtime._init.context import StepError
try:
    procfs.write("sys/kernel/msgmax", b"4242")
except (OSError, StepError) as error:
    print("refused", getattr(error, "number", 0) or error.errno)
"""


@pytest.mark.root
@pytest.mark.parametrize("script", [PLANTED, COVERED, SWITCHED, MOVED, ABOVE])
def test_rt_12_a_procfs_that_was_prepared(tmp_path: Path, script: str) -> None:
    """Settings go to the root of a procfs, through no mount below it, or are refused; what is planted stays empty."""
    before = Path("/proc/sys/kernel/core_pattern").read_text()
    (tmp_path / "write.py").write_text(WRITE)
    source = Path(ociworks.__file__).parent.parent
    proved = "test ! -s /proc/sys/kernel/msgmax || grep -vqx 4242 /proc/sys/kernel/msgmax; echo untouched"
    told = subprocess.run(
        ["unshare", "--mount", "--ipc", "--propagation", "private", "sh", "-ec",
         f"{script}\n{sys.executable} write.py\n{proved}"],
        cwd=tmp_path, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(source)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert told.stdout.splitlines()[0].startswith("refused "), told.stderr
    assert told.stdout.splitlines()[1:] == ["untouched"]
    assert Path("/proc/sys/kernel/core_pattern").read_text() == before


@pytest.mark.root
def test_rt_12_the_mount_namespace_of_the_host_is_refused(runtime: Runtime, bundle: spec.Bundle) -> None:
    """Its root would be exchanged under everybody."""
    with pytest.raises(errors.CreateFailed, match="the host's mount namespace"):
        runtime.create("joined", joining(bundle, os.getpid()))


@pytest.mark.root
def test_rt_12_a_joined_mount_namespace_with_a_false_proc(
    runtime: Runtime, bundle: spec.Bundle, tmp_path: Path
) -> None:
    """Whoever prepared the namespace covered a setting in its ``/proc``: it is made in the host's, not there."""
    planted = tmp_path / "planted"
    planted.touch()
    cover = f"mount --bind {planted} /proc/sys/kernel/msgmax && echo && exec sleep 1000"
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", cover]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.read(1) == b"\n"
            hostile = with_linux(joining(bundle, holder.pid), sysctl={"kernel.msgmax": "4242"})
            with runtime.create("joined", hostile, ["sleep", "1000"]) as container:
                container.start()
                entered = ["nsenter", "-t", str(container.pid), "-i", "cat", "/proc/sys/kernel/msgmax"]
                assert subprocess.run(entered, capture_output=True, check=True).stdout == b"4242\n"
        finally:
            holder.kill()
    assert planted.read_bytes() == b""


def joining(bundle: spec.Bundle, pid: int) -> spec.Bundle:
    """The bundle, its mount namespace being that of ``pid``."""
    linux = bundle.spec.linux
    assert linux is not None
    others = tuple(item for item in linux.namespaces if item.type != "mount")
    namespace = spec.runtime.Namespace(type="mount", path=f"/proc/{pid}/ns/mnt")
    return with_linux(bundle, namespaces=(*others, namespace))


@pytest.mark.root
@pytest.mark.parametrize("target", ["/proc", "/proc/sys", "/proc/sys/kernel", "/proc/self", "/proc/1"])
def test_rt_12_settings_are_not_written_where_the_configuration_mounts(
    runtime: Runtime, bundle: spec.Bundle, tmp_path: Path, target: str
) -> None:
    """Planted files over the container's own procfs: refused, or the settings are in force and the files empty."""
    planted = tmp_path / "planted"
    for name in (
        "oom_score_adj",
        "msgmax",
        "kernel/msgmax",
        "sys/kernel/msgmax",
        "self/oom_score_adj",
        "attr/exec",
    ):
        (planted / name).parent.mkdir(parents=True, exist_ok=True)
        (planted / name).touch()
    over = Mount(destination=target, type="bind", source=str(planted), options=("rbind",))
    hostile = changed(
        with_linux(bundle, sysctl={"kernel.msgmax": "4242"}), mounts=(*bundle.spec.mounts, over)
    )
    hostile = with_process(hostile, oom_score_adj=555)
    with (
        contextlib.suppress(errors.CreateFailed, errors.InvalidSpec, errors.NotSupported),
        runtime.create("planted", hostile, ["sleep", "1000"]) as container,
    ):
        container.start()
        assert Path(f"/proc/{container.pid}/oom_score_adj").read_text() == "555\n"
        entered = ["nsenter", "-t", str(container.pid), "-i", "cat", "/proc/sys/kernel/msgmax"]
        assert subprocess.run(entered, capture_output=True, check=True, timeout=60).stdout == b"4242\n"
    assert all(path.stat().st_size == 0 for path in planted.rglob("*") if path.is_file())


@pytest.mark.root
@pytest.mark.parametrize("script", [PLANTED, COVERED])
def test_rt_12_a_container_that_covers_its_procfs(runtime: Runtime, bundle: spec.Bundle, script: str) -> None:
    """An exec has its settings written before it enters, so what was planted inside stays empty."""
    mighty = capable("CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE")
    powerful = with_linux(
        with_process(bundle, capabilities=mighty), seccomp=None, masked_paths=(), readonly_paths=()
    )
    command = f"set -e\n{script}\necho ready; sleep 1000"
    with runtime.create("covering", powerful, ["sh", "-c", command], stdout=-1) as container:
        container.start()
        assert container.stdout is not None
        assert os.read(container.stdout, 100) == b"ready\n"
        names = "/proc/1/oom_score_adj" if script == PLANTED else "/proc/sys/kernel/msgmax"
        target = with_process(bundle, args=("cat", names), oom_score_adj=321).spec.process
        assert target is not None
        done = container.exec(target, timeout=60)
        assert (done.stdout, done.returncode) == (b"", 0)
