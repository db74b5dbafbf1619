"""An ordinary user's containers: a user namespace, one identity, no control groups – and nothing left of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.rootless import Ordinary

Ask = Callable[[str], Any]


@pytest.fixture
def ask(place: Path) -> Ask:
    """Runs a script as an ordinary user with one identity; gives what it told."""
    return Ordinary(place).ask


pytestmark = pytest.mark.userns


def test_who_and_where(ask: Ask) -> None:
    """Root inside, nobody special outside, in namespaces of its own."""
    told = ask("""
with runtime:
    look = "id -u; id -g; cat /proc/self/uid_map; readlink /proc/self/ns/user; hostname; ls /sys/class/net"
    done = runtime.run(bundle, ["sh", "-c", look], capture_output=True, timeout=60)
    tell(lines=done.stdout.decode().split("\\n"), error=done.stderr.decode(), outside=os.readlink("/proc/self/ns/user"),
         uid=os.getuid())
""")
    assert told["lines"][:2] == ["0", "0"], told["error"]
    assert told["lines"][2].split() == ["0", str(told["uid"]), "1"]
    assert told["lines"][3] != told["outside"]
    assert "lo" in told["lines"][5:]


def test_a_whole_life(ask: Ask) -> None:
    """Create, start, exec, kill, wait and delete work without any right on the host."""
    told = ask("""
with runtime, runtime.create("small", bundle, ["sleep", "1000"]) as container:
    container.start()
    done = container.exec(["sh", "-c", "ps; id -u; grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status"], timeout=60)
    container.kill("KILL")
    tell(output=done.stdout.decode(), error=done.stderr.decode(), status=container.wait(timeout=60))
""")
    assert told["status"] == -9, told["error"]
    words = told["output"].split()
    assert "sleep" in words
    assert words[-1] == "2"  # seccomp filter mode
    assert "00000000a80425fb" in words


def test_what_is_read_only_or_masked(ask: Ask) -> None:
    """The default profile holds for an ordinary user too."""
    told = ask("""
with runtime:
    look = (
        "cat /proc/keys | wc -c; echo x > /proc/sys/kernel/domainname || echo refused;"
        "mkdir /sys/x || echo refused; ls /dev; echo x > /dev/null && echo written; unshare -n true || echo refused"
    )
    done = runtime.run(bundle, ["sh", "-c", look], capture_output=True, timeout=60)
    tell(output=done.stdout.decode().split(), error=done.stderr.decode())
""")
    output = told["output"]
    assert output[0] == "0"
    assert output.count("refused") == 3, told
    assert {"null", "zero", "full", "random", "urandom", "tty", "pts", "shm", "fd", "written"} <= set(output)


def test_limits_are_refused_not_ignored(ask: Ask) -> None:
    """A limit that cannot be applied is an error before anything exists."""
    told = ask("""
import attrs
limited = attrs.evolve(bundle.spec.linux, resources=spec.runtime.Resources(pids=spec.runtime.Pids(limit=5)))
try:
    with runtime:
        runtime.run(bundle.replace(attrs.evolve(bundle.spec, linux=limited)), ["true"], timeout=60)
    tell(error="")
except errors.OciworksError as error:
    tell(error=type(error).__name__, text=str(error))
""")
    assert told["error"] in ("CgroupError", "NotSupported"), told


def test_failures_and_timeouts(ask: Ask) -> None:
    """Each fails as it does for root; the fixture proves that nothing is left."""
    told = ask("""
found = []
with runtime:
    for args, timeout in ((["/no/such"], 60), (["sh", "-c", "sleep 1000 & sleep 1000"], 0.2), (["false"], 60)):
        try:
            found.append(runtime.run(bundle, args, capture_output=True, timeout=timeout).returncode)
        except errors.ContainerError as error:
            found.append(type(error).__name__)
tell(found=found)
""")
    assert told["found"] == ["CommandNotFound", "ContainerTimeout", 1]


def test_a_terminal(ask: Ask) -> None:
    """The terminal comes from the container's own devpts."""
    told = ask("""
import attrs
process = attrs.evolve(bundle.spec.process, terminal=True, args=("sh", "-c", "tty; exit 6"))
with runtime, runtime.create("t", bundle.replace(attrs.evolve(bundle.spec, process=process))) as container:
    container.start()
    screen = b""
    while data := container.console.read():
        screen += data
    tell(screen=screen.decode(), status=container.wait(timeout=60))
""")
    assert told == {"screen": "/dev/pts/0\r\n", "status": 6}


def test_kill_9_of_the_caller(ask: Ask) -> None:
    """Nothing stays behind for an ordinary user either."""
    told = ask("""
import select, signal
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    container = runtime.create("left", bundle, ["sh", "-c", "sleep 1000 & sleep 1000"])
    container.start()
    children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
    os.write(writer, f"{container.pid} {children[0]}".encode())
    signal.pause()
fds = [os.pidfd_open(int(pid)) for pid in os.read(reader, 100).split()]
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
ends = []
for fd in fds:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    ends.append(bool(poller.poll(60_000)))
tell(ends=ends, left=os.listdir(sys.argv[2]))
""")
    assert told == {"ends": [True, True], "left": []}
