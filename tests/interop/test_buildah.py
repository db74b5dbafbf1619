"""buildah uses ``ociworks-runtime`` as it uses runc; each test is a row in docs/guide/clients.md."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociworks.image import archive
from tests.interop import boxes
from tests.interop.peers import container_storage, on_a_terminal, peer
from tests.runtime.commands import program

pytestmark = [
    pytest.mark.interop,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: buildah uses control groups and mounts"),
]

IMAGE = "localhost/box:1"


class Buildah:
    """buildah with a storage of its own, a base image, and our runtime."""

    def __init__(self, storage: tuple[str, ...], folder: Path) -> None:
        self.command = [peer("buildah"), *storage]
        self.running = ("--runtime", str(program(folder)), "--isolation", "oci")

    def call(self, *args: str | Path) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            [*self.command, *map(str, args)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def __call__(self, *args: str | Path, status: int = 0) -> str:
        """Run it to its end; what it printed."""
        done = self.call(*args)
        assert done.returncode == status, done
        return done.stdout

    def build(self, folder: Path, steps: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Build from these steps on the image."""
        (folder / "Containerfile").write_text(f"FROM {IMAGE}\n{steps}")
        return self.call("bud", *self.running, "--network", "none", *options, "--tag", "built", folder)

    def run(self, container: str, *args: str, status: int = 0) -> str:
        """Run in a working container."""
        return self(
            "run",
            *self.running,
            "--network",
            "none",
            *args[:-1],
            container,
            "--",
            "sh",
            "-c",
            args[-1],
            status=status,
        )


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    folder = tmp_path_factory.mktemp("buildah")
    with container_storage() as storage:
        made = Buildah(storage, folder)
        archive.write(folder / "box.tar", boxes.image(), IMAGE)
        made("pull", f"oci-archive:{folder}/box.tar")
        yield made
        made("rm", "--all")
        made("rmi", "--all", "--force")


@pytest.fixture
def container(buildah: Buildah) -> Iterator[str]:
    """A working container."""
    made = buildah("from", "--pull-never", IMAGE).strip()
    yield made
    buildah("rm", made)


def test_steps(buildah: Buildah, tmp_path: Path) -> None:
    """Bud: RUN with variables, users, working directories and volumes; what they wrote is in the image."""
    steps = """
ENV A=b
WORKDIR /tmp/work
RUN echo $A $PWD > /said && id -u >> /said
USER 1000:1000
RUN id -u > /tmp/user; touch /refused || echo no >> /tmp/user; cat /data/file >> /tmp/user
"""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("from outside\n")
    (tmp_path / "data").chmod(0o755)
    tmp_path.chmod(0o755)
    done = buildah.build(tmp_path, steps, "--volume", f"{tmp_path}/data:/data:ro")
    assert done.returncode == 0, done
    made = buildah("from", "--pull-never", "built").strip()
    try:
        said = buildah.run(made, "cat /said /tmp/user")
        assert said.split() == ["b", "/tmp/work", "0", "1000", "no", "from", "outside"]
    finally:
        buildah("rm", made)


def test_a_failing_step(buildah: Buildah, tmp_path: Path) -> None:
    """Bud: a RUN that fails, its status and which step it was."""
    done = buildah.build(tmp_path, "RUN exit 7\n")
    assert (done.returncode, "exit 7" in done.stderr) == (7, True), done


def test_what_cannot_run(buildah: Buildah, container: str) -> None:
    """Run of a program that is not there."""
    done = buildah.call("run", *buildah.running, "--network", "none", container, "nowhere")
    assert done.returncode != 0
    assert "executable file not found in $PATH" in done.stderr


def test_run(buildah: Buildah, container: str, tmp_path: Path) -> None:
    """From and run: output, exit status, --user, --env, --workingdir, --mount, --cap-drop."""
    tmp_path.joinpath("file").write_text("from outside\n")
    tmp_path.chmod(0o755)
    options = (
        "--user", "1000", "--env", "A=b", "--workingdir", "/tmp", "--cap-drop", "all",
        "--mount", f"type=bind,source={tmp_path},destination=/data,ro",
    )  # fmt: skip
    script = "echo $A $PWD; id -u; cat /data/file; touch /data/x || grep CapBnd /proc/self/status; exit 4"
    said = buildah.run(container, *options, script, status=4)
    assert said.split() == ["b", "/tmp", "1000", "from", "outside", "CapBnd:", "0000000000000000"]


def test_terminal(buildah: Buildah, container: str) -> None:
    """Run --terminal."""
    call = [*buildah.command, "run", *buildah.running, "--network", "none", "--terminal", container, "tty"]
    assert b"/dev/pts/0\r" in on_a_terminal(call)
