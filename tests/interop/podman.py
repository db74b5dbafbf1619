"""Podman with a storage of its own and ``ociworks-runtime`` from this checkout as its runtime."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.interop.peers import on_a_terminal, peer
from tests.runtime.commands import program

__all__ = ["FOREVER", "Podman"]

CONFIGURATION = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=16384:16384"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "ours"
tmp_dir = "{folder}/tmp"
[engine.runtimes]
ours = ["{program}"]
"""
FOREVER = ("sleep", "1000")


class Podman:
    """Podman with a storage and a configuration of its own."""

    def __init__(self, folder: Path) -> None:
        configuration = folder / "containers.conf"
        configuration.write_text(CONFIGURATION.format(folder=folder, program=program(folder)))
        self.environment = {**os.environ, "CONTAINERS_CONF": str(configuration)}
        self.command = [
            peer("podman"), "--root", str(folder / "storage"), "--runroot", str(folder / "run"),
            "--storage-driver", "vfs",
        ]  # fmt: skip

    def __call__(self, *args: str | Path, status: int = 0) -> str:
        """Run it to its end; what it printed."""
        done = subprocess.run(
            [*self.command, *map(str, args)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=self.environment,
        )
        assert done.returncode == status, done
        return done.stdout

    def run(self, *args: str | Path, status: int = 0) -> str:
        """A container without a network."""
        return self("run", "--network", "none", *args, status=status)

    def running(self, name: str, *args: str | Path) -> None:
        """A container that goes on."""
        self.run("--detach", "--name", name, *args, "box", *FOREVER)

    def on_a_terminal(self, *args: str) -> bytes:
        """Run it where somebody sits; what they saw."""
        return on_a_terminal([*self.command, *args], environment=self.environment)
