"""A real credential helper for tests: a program on the PATH that speaks the protocol and keeps a JSON file."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

__all__ = ["install_helper", "kept_by", "says"]

_HELPER = """\
#!{python} -IS
import json, os, sys
path = {store!r}
kept = json.load(open(path)) if os.path.exists(path) else {{}}
verb, given = sys.argv[1], sys.stdin.read()
if verb == "list":
    print(json.dumps({{server: entry["Username"] for server, entry in kept.items()}}))
elif verb == "store":
    entry = json.loads(given)
    kept[entry["ServerURL"]] = entry
elif given not in kept:
    print("credentials not found in native keychain")
    sys.exit(1)
elif verb == "get":
    print(json.dumps(kept[given]))
elif verb == "erase":
    del kept[given]
json.dump(kept, open(path, "w"))
"""


def install_helper(
    monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, script: str | None = None
) -> Path:
    """Put ``docker-credential-NAME`` first on the PATH; gives the file in which it keeps things."""
    store = folder / f"{name}.json"
    program = folder / f"docker-credential-{name}"
    program.write_text(script or _HELPER.format(python=sys.executable, store=str(store)))
    program.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return store


def says(output: str, status: int = 0) -> str:
    """A helper that answers everything with the same."""
    return f"#!/bin/sh\ncat >/dev/null\ncat <<'END'\n{output}\nEND\nexit {status}\n"


def kept_by(store: Path) -> dict[str, tuple[str, str]]:
    """User name and secret by server."""
    kept = json.loads(store.read_text()) if store.exists() else {}
    return {server: (entry["Username"], entry["Secret"]) for server, entry in kept.items()}
