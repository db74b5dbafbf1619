"""``ociworks-runtime`` as a program, for tests of the command and of the clients that call it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ociworks import spec

__all__ = ["Command", "program", "written"]

_PROGRAM = """\
#!{python} -I
import sys

sys.path.insert(0, {source!r})
from ociworks.runtime.cli import program

program()
"""


def program(folder: Path) -> Path:
    """A file that is the command, from this checkout and by this interpreter."""
    path = folder / "ociworks-runtime"
    source = str(Path(spec.__file__).parents[2])
    path.write_text(_PROGRAM.format(python=sys.executable, source=source))
    path.chmod(0o755)
    return path


def written(bundle: spec.Bundle) -> spec.Bundle:
    """The bundle with its configuration in the file, where the command reads it."""
    bundle.save()
    return bundle


class Command:
    """The command with a state root; ``command("state", "x")`` runs it to its end."""

    def __init__(self, path: Path, root: Path, log: Path) -> None:
        self.path, self.root, self.log = path, root, log

    def arguments(self, *args: str | Path) -> list[str]:
        """The whole command line."""
        return [str(self.path), "--root", str(self.root), *map(str, args)]

    def __call__(self, *args: str | Path, status: int | None = 0, **options: Any) -> str:
        """Run it; what it printed. ``status`` is what it must end with, None: anything."""
        options = {"stdin": subprocess.DEVNULL, "timeout": 60, **options}
        done = subprocess.run(self.arguments(*args), capture_output=True, text=True, check=False, **options)
        assert status is None or done.returncode == status, (args, done)
        said: str = done.stdout + done.stderr
        return said

    def quiet(self, *args: str | Path, status: int = 0, **options: Any) -> None:
        """Run it with streams that a container may keep: nothing of them is read."""
        null = subprocess.DEVNULL
        streams = {"stdin": null, "stdout": null, "stderr": null, **options}
        self.log.unlink(missing_ok=True)
        done = subprocess.run(self.arguments("--log", self.log, *args), timeout=60, check=False, **streams)
        assert done.returncode == status, (args, self.log.read_text())

    def json(self, *args: str | Path) -> Any:
        """What it printed, read."""
        return json.loads(self(*args))

    def status(self, name: str) -> str:
        """The status of a container."""
        return str(self.json("state", name)["status"])

    def fails(self, *args: str | Path, status: int = 1) -> dict[str, str]:
        """The one record that it logs when it fails."""
        self.log.unlink(missing_ok=True)
        self("--log", self.log, "--log-format", "json", *args, status=status)
        lines = self.log.read_text().splitlines()
        assert len(lines) == 1
        record: dict[str, str] = json.loads(lines[0])
        assert sorted(record) == ["level", "msg", "time"]
        return record

    @contextmanager
    def created(self, name: str, bundle: spec.Bundle, *args: str | Path) -> Iterator[int]:
        """A created container; its pid. It is removed at the end."""
        pid_file = self.root.parent / f"{name}.pid"
        self.quiet("create", "--bundle", written(bundle).path, "--pid-file", pid_file, *args, name)
        try:
            yield int(pid_file.read_text())
        finally:
            self("delete", "--force", name)

    @contextmanager
    def running(self, name: str, bundle: spec.Bundle, *args: str | Path) -> Iterator[int]:
        """A running container; its pid. It is removed at the end."""
        with self.created(name, bundle, *args) as pid:
            self("start", name)
            yield pid
