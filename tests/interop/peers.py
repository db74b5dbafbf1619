"""Other people's programs as peers: found or the test is skipped with the reason."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import tempfile
import termios
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from examples.programs import BUSYBOX, is_static

__all__ = [
    "busybox",
    "container_storage",
    "containerd",
    "crun",
    "docker_registry",
    "on_a_terminal",
    "peer",
    "run",
]

_WITHOUT_UNIFIED = """\
#!/bin/sh
exec unshare --mount --propagation private sh -c 'umount {places} && exec {program} "$@"' crun "$@"
"""
_CONFIGURATION = """\
version: 0.1
log: {{level: info}}
storage: {{filesystem: {{rootdirectory: {storage}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:0"{tls}}}
{auth}
"""
_CONTAINERD = """\
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
                    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "{folder}/s"
[ttrpc]
address = "{folder}/t"
"""


def peer(name: str) -> str:
    """The path of a program of Debian's; the test is skipped without it."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def crun(folder: Path) -> str:
    """The path of crun; on a host whose control groups are hybrid, of a file in ``folder`` that runs it without them.

    It refuses such a host, so there it gets a mount namespace of its own without the unified hierarchy.
    """
    found = peer("crun")
    mounts = [line.split(" ") for line in Path("/proc/self/mounts").read_text().splitlines()]
    unified = [fields[1] for fields in mounts if fields[2] == "cgroup2"]
    if not unified or not any(fields[2] == "cgroup" for fields in mounts):
        return found
    script = folder / "crun"
    script.write_text(_WITHOUT_UNIFIED.format(places=" ".join(unified), program=found))
    script.chmod(0o755)
    return str(script)


def busybox() -> Path:
    """A static busybox; the test is skipped without it."""
    if not is_static(BUSYBOX):
        pytest.skip("busybox-static is not installed")
    return BUSYBOX


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a peer to its end; its error is the test's failure. Gives its standard output."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=cwd, timeout=120, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def on_a_terminal(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    size: tuple[int, int] = (24, 80),
    status: int = 0,
) -> bytes:
    """Run a peer where somebody sits, with this many lines and columns; what they saw."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    ) as process:
        os.close(slave)
        seen = b""
        while True:
            try:
                seen += os.read(master, 4096)
            except OSError:  # nobody has the terminal open any more
                break
        assert process.wait(60) == status, seen
    os.close(master)
    return seen


@contextmanager
def container_storage() -> Iterator[tuple[str, ...]]:
    """The options for a storage of podman's and buildah's own, at a short path: podman insists on 50 characters."""
    with tempfile.TemporaryDirectory(prefix="ow-", dir="/tmp") as folder:
        yield ("--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs")


@contextmanager
def containerd() -> Iterator[str]:
    """Debian's containerd, not as a service, with everything of its own at a short path; gives its socket."""
    program = peer("containerd")
    with tempfile.TemporaryDirectory(prefix="ow-", dir="/tmp") as folder:
        os.chmod(folder, 0o711)  # the root of a user namespace has to pass
        configuration = Path(folder, "config.toml")
        configuration.write_text(_CONTAINERD.format(folder=folder))
        with _serving([program, "--config", str(configuration)], rb"successfully booted"):
            yield f"{folder}/s"


@contextmanager
def docker_registry(
    folder: Path, *, tls: tuple[Path, Path] | None = None, htpasswd: Path | None = None
) -> Iterator[str]:
    """Debian's docker-registry on a free port of loopback; gives ``127.0.0.1:port``.

    ``tls`` is a certificate and its key, ``htpasswd`` a file of user names and passwords (bcrypt). The port is
    the kernel's choice, read from the line that the registry logs once it listens.
    """
    configuration = folder / "registry.yml"
    configuration.write_text(
        _CONFIGURATION.format(
            storage=folder / "storage",
            tls=f', tls: {{certificate: "{tls[0]}", key: "{tls[1]}"}}' if tls else "",
            auth=f'auth: {{htpasswd: {{realm: testing, path: "{htpasswd}"}}}}' if htpasswd else "",
        )
    )
    command = [peer("docker-registry"), "serve", str(configuration)]
    with _serving(command, rb"listening on ([0-9.]+:[0-9]+)") as found:
        yield found[1].decode("ascii")


@contextmanager
def _serving(command: list[str], ready: bytes) -> Iterator[re.Match[bytes]]:
    """A server from the line of its log that says that it is ready to the end of the block."""
    null = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=null, stdout=null, stderr=subprocess.PIPE) as server:
        try:
            found = _until(server, ready)
        except BaseException:
            server.kill()
            raise
        # It logs on: a pipe that nobody reads fills up, and the server would wait for ever.
        log = threading.Thread(target=_drain, args=(server,), daemon=True)
        log.start()
        try:
            yield found
        finally:
            server.kill()
            log.join()


def _drain(server: subprocess.Popen[bytes]) -> None:
    for _ in server.stderr or ():
        pass


def _until(server: subprocess.Popen[bytes], wanted: bytes) -> re.Match[bytes]:
    seen: list[bytes] = []
    for line in server.stderr or ():
        seen.append(line)
        if match := re.search(wanted, line):
            return match
    raise AssertionError(f"{server.args!r} ended: {b''.join(seen).decode()}")
