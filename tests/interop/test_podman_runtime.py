"""Podman uses ``ociworks-runtime`` as it uses runc; each test is a row in docs/guide/clients.md."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.peers import busybox, peer
from tests.interop.podman import Podman

pytestmark = [
    pytest.mark.interop,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: podman as root uses control groups"),
]

APPLETS = "cat echo false grep head httpd id ls nc ps sh sleep stat touch top true tty wc".split()
NETWORK = """\
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""
PUBLISH = """\
mount -t tmpfs none /run
ip link set lo up
trap '"$@" rm --force --time 0 published' EXIT
"$@" run --detach --name published --publish 127.0.0.1:8080:80 box \
    sh -c 'while :; do echo hello | nc -l -p 80; done' > /run/id
until busybox nc 127.0.0.1 8080 < /dev/null; do :; done 2> /run/refused
"""


def image_folder(folder: Path) -> Path:
    """What an image is built from."""
    rootfs = folder / "image/rootfs"
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp"):
        (rootfs / name).mkdir(parents=True)
    shutil.copy(busybox(), rootfs / "bin/busybox")
    for applet in APPLETS:
        (rootfs / "bin" / applet).symlink_to("busybox")
    (rootfs / "etc/passwd").write_text("root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n")
    (folder / "image/Containerfile").write_text('FROM scratch\nCOPY rootfs /\nCMD ["/bin/sh"]\n')
    return folder / "image"


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """Podman with an image ``box``; every container is removed at the end."""
    folder = tmp_path_factory.mktemp("podman")
    made = Podman(folder)
    made("build", "--quiet", "--tag", "box", image_folder(folder))
    yield made
    made("rm", "--all", "--force", "--time", "0")
    made("rmi", "--all", "--force")


@pytest.fixture
def name(podman: Podman, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a container that is removed after the test."""
    chosen = str(request.node.name).removeprefix("test_").replace("[", "-").strip("]")
    yield chosen
    podman("rm", "--force", "--ignore", "--time", "0", chosen)


def test_run(podman: Podman) -> None:
    """Run: output, exit status."""
    assert podman.run("--rm", "box", "echo", "hello") == "hello\n"
    podman.run("--rm", "box", "sh", "-c", "exit 7", status=7)


@pytest.mark.parametrize(("program", "status"), [("nowhere", 127), ("/no/such", 127), ("/etc/passwd", 126)])
def test_run_what_cannot_be(podman: Podman, program: str, status: int) -> None:
    """Run of what cannot be executed: statuses 126 and 127."""
    podman.run("--rm", "box", program, status=status)


def test_run_t(podman: Podman) -> None:
    """Run --tty."""
    assert podman.on_a_terminal("run", "--rm", "-t", "--network", "none", "box", "tty") == b"/dev/pts/0\r\n"


def test_exec(podman: Podman, name: str) -> None:
    """Exec: output, status, --user, --env, --workdir, --detach, --tty, what is not there."""
    podman.running(name)
    assert podman("exec", name, "echo", "hello") == "hello\n"
    podman("exec", name, "sh", "-c", "exit 4", status=4)
    podman("exec", name, "nowhere", status=127)
    assert podman(
        "exec", "--user", "1000", "--env", "A=b", "--workdir", "/tmp", name, "sh", "-c", "id -u; echo $A $PWD"
    ) == ("1000\nb /tmp\n")
    podman("exec", "--detach", name, "touch", "/detached")
    assert b"/dev/pts/0\r\n" in podman.on_a_terminal("exec", "-t", name, "tty")


def test_logs(podman: Podman, name: str) -> None:
    """Run --detach, wait, logs."""
    podman.run("--detach", "--name", name, "box", "sh", "-c", "echo out; echo err >&2")
    assert podman("wait", name) == "0\n"
    assert podman("logs", name) == "out\n"


def test_pause(podman: Podman, name: str) -> None:
    """Pause, unpause, inspect."""
    podman.running(name)
    podman("pause", name)
    assert podman("inspect", "--format", "{{.State.Status}}", name) == "paused\n"
    podman("unpause", name)
    assert podman("inspect", "--format", "{{.State.Status}}", name) == "running\n"


def test_stats_and_top(podman: Podman, name: str) -> None:
    """Stats, top."""
    podman.running(name)
    stats = json.loads(podman("stats", "--no-stream", "--format", "json", name))
    assert stats[0]["pids"] == "1"
    assert "sleep 1000" in podman("top", name)


def test_kill_and_stop(podman: Podman, name: str) -> None:
    """Kill and stop: signals that are handled, status 137; start again."""
    podman.run(
        "--detach", "--name", name, "box", "sh", "-c", "trap 'exit 3' USR1 TERM; while :; do sleep 1; done"
    )
    podman("kill", "--signal", "USR1", name)
    assert podman("wait", name) == "3\n"
    podman("start", name)
    podman("stop", "--time", "60", name)
    assert podman("inspect", "--format", "{{.State.ExitCode}}", name) == "3\n"
    podman("start", name)
    podman("kill", name)
    assert podman("wait", name) == "137\n"
    podman("rm", name)


def test_healthcheck(podman: Podman, name: str) -> None:
    """Healthcheck run."""
    podman.running(name, "--health-cmd", "test -e /well || exit 1", "--health-interval", "disable")
    podman("healthcheck", "run", name, status=1)
    podman("exec", name, "touch", "/well")
    podman("healthcheck", "run", name)


def test_update(podman: Podman, name: str) -> None:
    """Update --memory."""
    if "update" not in podman("--help"):
        pytest.skip("this podman has no update")
    podman.running(name, "--memory", "64m")
    podman("update", "--memory", "96m", name)


def test_limits_and_restrictions(podman: Podman, tmp_path: Path) -> None:
    """Run --read-only, --cap-drop, --user, --memory, --pids-limit, --volume, seccomp: seen from inside."""
    tmp_path.chmod(0o755)
    (tmp_path / "file").write_text("from outside")
    options = (
        "--rm", "--read-only", "--cap-drop", "all", "--user", "1000:1000", "--security-opt", "seccomp=unconfined",
        "--memory", "64m", "--pids-limit", "20", "--volume", f"{tmp_path}:/volume:ro",
    )  # fmt: skip
    script = "id -u; cat /volume/file; echo; touch /x /volume/x || echo refused; grep -E 'CapBnd|Seccomp:' "
    script += "/proc/self/status"
    said = podman.run(*options, "box", "sh", "-c", script).split()
    assert said == ["1000", "from", "outside", "refused", "CapBnd:", "0000000000000000", "Seccomp:", "0"]
    script = "grep Seccomp: /proc/self/status; touch /tmp/x && echo done"
    assert podman.run("--rm", "box", "sh", "-c", script).split() == ["Seccomp:", "2", "done"]


def test_volume(podman: Podman) -> None:
    """Volumes."""
    podman("volume", "create", "kept")
    podman.run("--rm", "-v", "kept:/data", "box", "sh", "-c", "echo kept > /data/file")
    assert podman.run("--rm", "-v", "kept:/data", "box", "cat", "/data/file") == "kept\n"
    podman("volume", "rm", "kept")


def test_build(podman: Podman, tmp_path: Path) -> None:
    """Build --isolation oci: RUN steps."""
    (tmp_path / "Containerfile").write_text(
        "FROM localhost/box\nRUN echo built > /built && id -u\nRUN cat /built\n"
    )
    podman("build", "--isolation", "oci", "--network", "none", "--tag", "built", tmp_path)
    assert podman.run("--rm", "localhost/built", "cat", "/built") == "built\n"


def test_published_port(podman: Podman, tmp_path: Path) -> None:
    """Run --publish: a port of a container on a bridge.

    In a network namespace of the test's own: the host's stays as it is.
    """
    if not os.access("/usr/lib/podman/netavark", os.X_OK):
        pytest.skip("netavark is not installed")
    peer("iptables")
    configuration = Path(podman.environment["CONTAINERS_CONF"]).read_text() + NETWORK.format(folder=tmp_path)
    (tmp_path / "containers.conf").write_text(configuration)
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-euc", PUBLISH, "sh", *podman.command],
        env={**podman.environment, "CONTAINERS_CONF": str(tmp_path / "containers.conf")},
        stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, b"hello\npublished\n"), done


def test_pod(podman: Podman) -> None:
    """Pod create, run --pod: containers that share their namespaces."""
    podman(
        "pod", "create", "--name", "pod", "--network", "none", "--share", "ipc,net,uts,pid",
        "--infra-image", "localhost/box", "--infra-command", "sleep 1000",
    )  # fmt: skip
    try:
        podman(
            "run",
            "--detach",
            "--pod",
            "pod",
            "--name",
            "first",
            "box",
            "sh",
            "-c",
            "nc -l -p 80 -e echo hello; sleep 1000",
        )
        script = "until nc 127.0.0.1 80 < /dev/null; do :; done"
        assert podman("run", "--rm", "--pod", "pod", "box", "sh", "-c", script) == "hello\n"
        assert podman("run", "--rm", "--pod", "pod", "box", "ps").count("sleep 1000") == 2
    finally:
        podman("pod", "rm", "--force", "--time", "0", "pod")


def test_restart_and_inspect(podman: Podman, name: str) -> None:
    """Restart, inspect."""
    podman.running(name)
    first = podman("inspect", "--format", "{{.State.Pid}}", name)
    podman("restart", "--time", "0", name)
    second = podman("inspect", "--format", "{{.State.Pid}} {{.OCIRuntime}}", name)
    assert second.split()[0] != first.strip()
    assert second.split()[1] == "ours"
