"""The first road with other people's software at both ends: umoci and skopeo make the image, Debian's registry has it.

What comes back is compared with what skopeo reads, and the container is a real one, as root or as an ordinary user.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import ociworks
from ociworks import errors
from ociworks.api import prepare
from tests.cli.test_progress import read_all
from tests.interop.peers import busybox, docker_registry, peer, run

pytestmark = [pytest.mark.interop, pytest.mark.userns]

NAME = "first/road:1"
LOOK_AROUND = "uname -s; id -u; echo $GREETING; ps; cat /proc/self/cgroup"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's registry with the image in it."""
    folder = tmp_path_factory.mktemp("registry")
    layout = image_by_umoci(folder)
    with docker_registry(folder) as address:
        run(
            peer("skopeo"), "copy", "--dest-tls-verify=false", f"oci:{layout}:1", f"docker://{address}/{NAME}"
        )
        yield address


def image_by_umoci(folder: Path) -> Path:
    """A layout with busybox, in two layers, and a configuration; made by umoci alone."""
    umoci, layout = peer("umoci"), folder / "made"
    run(umoci, "init", "--layout", layout)
    run(umoci, "new", "--image", f"{layout}:1")
    with layer(umoci, layout, folder / "first") as rootfs:
        for name in ("bin", "dev", "proc", "sys", "tmp", "etc"):
            (rootfs / name).mkdir(parents=True)
        (rootfs / "etc" / "passwd").write_text("root:x:0:0::/:/bin/sh\n")
    with layer(umoci, layout, folder / "second") as rootfs:
        shutil.copy(busybox(), rootfs / "bin" / "busybox")
        for applet in ("sh", "cat", "id", "ps", "uname", "true", "sleep", "stty", "tty", "wc"):
            (rootfs / "bin" / applet).symlink_to("busybox")
    settings = ["--config.env", "PATH=/bin", "--config.env", "GREETING=hello", "--config.cmd", "/bin/true"]
    run(umoci, "config", "--image", f"{layout}:1", *settings)
    return layout


@contextmanager
def layer(umoci: str, layout: Path, bundle: Path) -> Iterator[Path]:
    """The root filesystem of the image so far; what is changed in it becomes a further layer."""
    run(umoci, "unpack", "--rootless", "--image", f"{layout}:1", bundle)
    yield bundle / "rootfs"
    run(umoci, "repack", "--image", f"{layout}:1", bundle)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty default store."""
    monkeypatch.setenv("OCIWORKS_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def test_pull_verify_run(registry: str, store: Path) -> None:
    """The whole road, and skopeo reads the same image from the registry and from our store."""
    events: list[str] = []
    image = ociworks.pull(f"{registry}/{NAME}", progress=lambda event: events.append(event.phase))
    ociworks.verify(image)
    assert "done" in events
    raw = run(peer("skopeo"), "inspect", "--raw", "--tls-verify=false", f"docker://{registry}/{NAME}")
    assert raw.encode() == image.raw_manifest
    stored = run(peer("skopeo"), "inspect", "--raw", f"oci:{store}:{registry}/{NAME}")
    assert stored.encode() == image.raw_manifest

    done = ociworks.run(image, ["sh", "-c", LOOK_AROUND], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert lines[:3] == ["Linux", "0", "hello"]
    assert any(line.split()[:1] == ["1"] for line in lines), "ps shows the container's own processes"
    assert str(os.getpid()) not in {line.split()[0] for line in lines[3:] if line.split()}


def test_the_image_runs_by_its_own_configuration(registry: str, store: Path) -> None:
    """Without arguments it is the image's command, here true."""
    assert ociworks.run(f"{registry}/{NAME}", timeout=60).returncode == 0
    assert store.is_dir()


def test_a_second_run_transfers_nothing(registry: str, store: Path) -> None:
    """A name that is in the store is not asked for again, so the registry may be gone."""
    ociworks.pull(f"{registry}/{NAME}")
    moved = f"{registry}/{NAME}"
    with pytest.raises(errors.RegistryError):
        ociworks.pull("127.0.0.1:1/first/road:1")
    assert ociworks.run(moved, ["true"], timeout=60).returncode == 0


def test_a_name_that_is_not_there(registry: str, store: Path) -> None:
    """A typed error with the registry's status; the store has no trace of it."""
    with pytest.raises(errors.NotFound) as caught:
        ociworks.pull(f"{registry}/first/road:2")
    assert caught.value.status == 404
    assert not list(store.rglob("sha256/*"))


def test_nothing_stays_behind(registry: str, store: Path, tmp_path: Path) -> None:
    """After success, failure and a timeout there are the same processes, mounts and temporary files as before."""
    image = ociworks.pull(f"{registry}/{NAME}")
    before = traces()
    assert ociworks.run(image, ["true"], timeout=60).returncode == 0
    with pytest.raises(errors.CommandNotFound):
        ociworks.run(image, ["/no/such/program"], timeout=60)
    with pytest.raises(errors.ContainerTimeout):
        ociworks.run(image, ["sleep", "1000"], timeout=0.5)
    assert traces() == before


def traces() -> tuple[object, ...]:
    """Children of this process, its mounts and its open files."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return children, Path("/proc/self/mountinfo").read_text(), len(os.listdir("/proc/self/fd"))


def test_the_container_itself(registry: str, store: Path) -> None:
    """Create, start, exec, kill, wait: by the bundle that prepare gives."""
    image = ociworks.pull(f"{registry}/{NAME}")
    with prepare(image, ["sleep", "1000"]) as (runtime, bundle), runtime.create("road", bundle) as container:
        container.start()
        assert container.exec(["cat", "/bin/busybox"], timeout=60).stdout == busybox().read_bytes()
        assert b"sleep" in container.exec(["ps"], timeout=60).stdout
        container.kill("KILL")
        assert container.wait(timeout=60) == -9
    assert not bundle.path.exists()


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m ociworks ARG…``, as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "ociworks", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_commands(registry: str, store: Path) -> None:
    """Pull tells which image it was; run passes output and exit status through."""
    pulled = command("pull", "--json", f"{registry}/{NAME}")
    assert pulled.returncode == 0, pulled.stderr
    answer = json.loads(pulled.stdout)
    assert answer["digest"] == str(ociworks.pull(f"{registry}/{NAME}").digest)
    assert len(answer["layers"]) == 2
    assert "done" not in pulled.stdout

    done = command("run", "-e", "A=b c", f"{registry}/{NAME}", "sh", "-c", 'echo "$A" >&2; exit 7')
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "b c\n")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["sh", "-c", "exit 255"], 255),
        (["/no/such/program"], 127),
        (["/etc/passwd"], 126),
        (["sleep", "1000"], 124),
    ],
)
def test_exit_statuses(registry: str, store: Path, arguments: list[str], status: int) -> None:
    """What a shell script can tell apart; and our own words are one line."""
    timeout = ["--timeout", "1"] if status == 124 else []
    done = command("run", "--quiet", *timeout, f"{registry}/{NAME}", *arguments)
    assert done.returncode == status, done.stderr
    assert done.stderr.count("\n") <= 1


def test_a_terminal(registry: str, store: Path) -> None:
    """With -it there is a terminal on both sides: keys go in, its size is ours, the status comes out."""
    ociworks.pull(f"{registry}/{NAME}")
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    script = "tty; stty size; read line; echo got $line; exit 3"
    arguments = [sys.executable, "-m", "ociworks", "run", "-it", f"{registry}/{NAME}", "sh", "-c", script]
    with subprocess.Popen(arguments, stdin=slave, stdout=slave, stderr=slave) as shown:
        os.close(slave)
        os.write(master, b"hello\r")
        screen = read_all(master)
    assert shown.returncode == 3, screen
    assert b"/dev/console" in screen or b"/dev/pts/" in screen
    assert b"33 77" in screen
    assert b"got hello" in screen


def test_standard_input(registry: str, store: Path) -> None:
    """With -i our input is the command's; without it there is none."""
    for option, count in ((["-i"], "2"), ([], "0")):
        done = subprocess.run(
            [sys.executable, "-m", "ociworks", "run", "-q", *option, f"{registry}/{NAME}", "wc", "-l"],
            input="a\nb\n",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stdout.strip()) == (0, count), done.stderr


def test_options_reach_the_container(registry: str, store: Path) -> None:
    """Host name, directory, a read-only root: as the command sees them."""
    options = ["--hostname", "box", "-w", "/tmp", "--read-only", "-e", "GREETING=changed"]
    look = "uname -n; pwd; echo $GREETING; echo x 2>/dev/null > /etc/new || echo read-only"
    done = command("run", "-q", *options, f"{registry}/{NAME}", "sh", "-c", look)
    assert done.stdout.splitlines() == ["box", "/tmp", "changed", "read-only"], done.stderr


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: limits and other users")
def test_limits_and_users_as_root(registry: str, store: Path) -> None:
    """Limits stand in the container's own groups, and the user is the one asked for, by number."""
    image = ociworks.pull(f"{registry}/{NAME}")
    options = ociworks.RunOptions(memory=64 << 20, pids=16, user="1234:55")
    with (
        prepare(image, ["sleep", "1000"], options) as (runtime, bundle),
        runtime.create("limits", bundle) as container,
    ):
        container.start()
        stats = container.stats()
        assert stats.memory is not None
        assert stats.pids is not None
        assert (stats.memory.limit, stats.pids.limit) == (64 << 20, 16)
        done = container.exec(["id"], timeout=60)
        assert done.stdout.startswith(b"uid=1234 gid=55")


def test_failures_of_ours_are_one_line(registry: str, store: Path) -> None:
    """Status 3, not found, for pull and 125 for run; never a traceback."""
    for arguments, status in ((["pull"], 3), (["run"], 125)):
        done = command(*arguments, f"{registry}/first/road:none")
        assert done.returncode == status
        assert done.stderr.startswith("ociworks: ")
        assert done.stderr.count("\n") == 1
