"""What an ordinary user does: scripts and commands, with one identity or with a range from newuidmap.

Root runs them as user 65534 with a copy of the package that this user can read; an ordinary user runs them as itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from ociworks import spec
from tests.ordinary import NOBODY, interpreter, readable_copy
from tests.runtime.boxes import box, nothing_left, with_linux

__all__ = ["FIRST", "RANGE", "Ordinary"]

PROLOGUE = """
import json, os, sys
from ociworks import errors, spec
from ociworks.runtime import Detach, ExecOptions, Runtime
bundle = spec.Bundle.load(sys.argv[1])
runtime = Runtime(sys.argv[2])
def tell(**facts):
    print(json.dumps(facts), flush=True)
"""
COMMAND = "from ociworks.runtime.cli import program; program()"
FIRST: Final = 300_000
RANGE: Final = 65_536
"""The identities that :class:`Ordinary` with ``many`` has beside its own."""

_IN_PLACE = 'mount --bind "$0" /etc/subuid && mount --bind "$0" /etc/subgid && exec "$@"'


class Ordinary:
    """An ordinary user with a bundle, a state root and a directory for anything else, all below ``place``."""

    def __init__(self, place: Path, *, many: bool = False, group: str = "") -> None:
        """``group`` is a control group to be in."""
        self._place = place
        self._many = many
        self._group = group
        self._program = sys.executable
        self._prefix: list[str] = []
        self.environment = {"PATH": "/usr/bin:/bin", "HOME": str(place)}
        self.root, self.own = place / "root", place / "own"
        self.bundle = box(place / "bundle", rootless=True)
        for folder in (self.root, self.own):
            folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            self._become()
        elif many:
            pytest.skip("needs root: a range of identities is given by a file of the host's")

    def _become(self) -> None:
        mapping = spec.runtime.IDMapping
        maps: tuple[spec.runtime.IDMapping, ...] = (mapping(container_id=0, host_id=NOBODY, size=1),)
        drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        if self._many:
            if shutil.which("newuidmap") is None:
                pytest.skip("needs newuidmap and newgidmap (Debian: uidmap)")
            maps = (*maps, mapping(container_id=1, host_id=FIRST, size=RANGE))
            ranges = self._place / "ranges"
            ranges.write_text(f"{NOBODY}:{FIRST}:{RANGE}\n")
            self._prefix = ["unshare", "--mount", "sh", "-c", _IN_PLACE, str(ranges)]
        if self._group:
            self._prefix += ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', self._group]
        self._prefix += drop
        self._program = interpreter(NOBODY)
        self.save(with_linux(self.bundle, uid_mappings=maps, gid_mappings=maps))
        library = self._place / "library"
        readable_copy(library, "ociworks", "attr", "attrs", "pyseccomp")
        self.environment["PYTHONPATH"] = str(library)

    def save(self, bundle: spec.Bundle) -> None:
        """Have this configuration in the bundle; all is the user's."""
        self.bundle = bundle
        bundle.save()
        if os.geteuid() == 0:
            mine = [bundle.path, self.root, self.own]
            subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", *mine], check=True)

    def python(self, script: str, *args: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a script to its end; its output is captured unless ``options`` say otherwise."""
        call = [*self._prefix, self._program, "-c", script, *map(str, args)]
        options = {"capture_output": True, "stdin": subprocess.DEVNULL, **options}
        return subprocess.run(
            call, env=self.environment, cwd="/", text=True, timeout=60, check=False, **options
        )

    def ask(self, script: str) -> Any:
        """What a script told, that has ``bundle`` and ``runtime``; nothing is left of it."""
        with nothing_left(self.root):
            done = self.python(PROLOGUE + script, self.bundle.path, self.root, self.own)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def command(self, *args: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run ``ociworks-runtime`` with the state root."""
        return self.python(COMMAND, "--root", self.root, *args, **options)
