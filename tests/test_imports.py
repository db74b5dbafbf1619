"""The arrows of the design: who may import whom, what the init may import, what an import may cost."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ociworks.spec import to_json
from ociworks.spec.defaults import default_spec
from tests.source_tree import PACKAGE, imports, module_name, modules, syntax

# room: the rooms that it may import. A room is a module or package directly below ``ociworks``.
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "_linux": set(),
    "_packs": set(),
    "_values": set(),
    "spec": {"errors", "_linux", "_values"},
    "image": {"errors", "_linux", "_values", "spec"},
    "runtime": {"errors", "_linux", "_packs", "_values", "spec"},
    "api": {"errors", "spec", "image", "runtime"},
    "cri": {"errors", "_linux", "_values", "spec", "image", "runtime"},
    "cli": {"errors", "spec", "image", "runtime", "api", "cri", "testing"},
    "testing": {"errors", "_linux", "_values", "spec", "image", "runtime", "api", "cri"},
    "__main__": {"cli"},
}

# Annotations only, never executed: an error carries the run or the verification that failed.
FOR_TYPES_ONLY = {("errors", "runtime"), ("errors", "image")}

# The init runs beside nothing but the C library. Its own list (ALLOWED_IMPORTS in runtime/_init) is what it may
# import; this is the most that the list may say: modules that are built in, or a handful of functions around them.
INIT_LIST = PACKAGE / "runtime" / "_init" / "__init__.py"
INIT_CEILING = {
    "__future__",
    "_json",
    "_signal",
    "_socket",
    "array",
    "ctypes",
    "errno",
    "fcntl",
    "gc",
    "marshal",
    "os",
    "resource",
    "select",
    "stat",
    "struct",
    "sys",
    "termios",
    "time",
}

HEAVY = {
    "attr",
    "attrs",
    "cattrs",
    "cryptography",
    "h11",
    "httpx",
    "nacl",
    "pyseccomp",
    "rich",
    "ssl",
    "zstandard",
    "asyncio",
}

# statement: the modules that it may not load.
COST = {
    "import ociworks": HEAVY | {"ctypes", "json", "logging", "re", "typing"},
    "import ociworks.errors": HEAVY | {"ctypes", "json", "logging", "re", "typing"},
    "import ociworks.spec": HEAVY - {"attr", "attrs"},
    "import ociworks.image": HEAVY - {"attr", "attrs"},
    "import ociworks.runtime": HEAVY - {"attr", "attrs"},
    "import ociworks.testing": HEAVY - {"attr", "attrs"},
    "import ociworks.cli": HEAVY,
}

# A command is a process that lives for milliseconds. What it loads beside ociworks itself is written down here: one
# module more is a decision. (What ``site`` and the interpreter have loaded already does not count.)
COMMAND_STANDARD = {
    "__future__",
    "_json",
    "_signal",
    "_socket",
    "_struct",
    "errno",
    "fcntl",
    "gc",
    "select",
    "struct",
}
CREATE_STANDARD = COMMAND_STANDARD | {"_thread", "itertools", "resource"}
COMMANDS = {
    "state and list": (("_state",), COMMAND_STANDARD, 15),
    "start": (("_start",), COMMAND_STANDARD, 19),
    "kill": (("_kill",), COMMAND_STANDARD, 23),
    "pause and resume": (("_pause",), COMMAND_STANDARD, 16),
    "ps": (("_ps",), COMMAND_STANDARD, 15),
    "delete": (("_delete",), COMMAND_STANDARD, 21),
    "create": (("_create", "_make"), CREATE_STANDARD, 80),
}
"""Command: its modules, what they may load of the standard library, and how many modules of ociworks there may be."""


def room(name: str) -> str | None:
    """The room of an absolute name: ``ociworks.spec.digest`` → ``spec``; None outside ociworks."""
    parts = name.split(".")
    if parts[0] != "ociworks" or len(parts) == 1:
        return None
    below = PACKAGE / parts[1]
    return parts[1] if below.is_dir() or below.with_suffix(".py").exists() else None


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_arrows(path: Path) -> None:
    """A layer imports only what the drawing allows, inside functions too."""
    home = room(module_name(path))
    if home is None:  # ociworks itself is the lazy face of all
        return
    assert home in ARROWS, f"{home} is a new room: draw its arrows in the design and here"
    for line, name in imports(path, type_checking=True):
        other = room(name)
        if other in {None, home} or (home, other) in FOR_TYPES_ONLY:
            continue
        assert other in ARROWS[home], f"{path}:{line}: {home} may not import {name}"


@pytest.mark.parametrize("pair", sorted(FOR_TYPES_ONLY), ids=" to ".join)
def test_imports_for_types_stay_under_type_checking(pair: tuple[str, str]) -> None:
    """The exceptions of the drawing never run."""
    home, other = pair
    for file in modules():
        if room(module_name(file)) == home:
            executed = {room(name) for _, name in imports(file, type_checking=False)}
            assert other not in executed, f"{file} imports {other} outside TYPE_CHECKING"


def allowed_in_the_init() -> set[str]:
    """The list that stands beside the init."""
    for node in syntax(INIT_LIST).body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        if ast.unparse(node.targets[0]) == "ALLOWED_IMPORTS":
            return set(ast.literal_eval(node.value.args[0]))
    raise AssertionError(f"{INIT_LIST} has no ALLOWED_IMPORTS = frozenset({{…}})")


def within(name: str, allowed: set[str]) -> bool:
    """Whether a module or one of its parents is in the list."""
    parts = name.split(".")
    return any(".".join(parts[:end]) in allowed for end in range(1, len(parts) + 1))


def init_modules() -> list[Path]:
    """The init, and all of ociworks that its list names."""
    return [path for path in modules() if within(module_name(path), allowed_in_the_init())]


def test_the_list_of_the_init_stays_short() -> None:
    """The list may name built-in modules and parts of ociworks that follow the same rule (rule 5, RT-04)."""
    foreign = {name for name in allowed_in_the_init() if room(name) is None}
    assert foreign <= INIT_CEILING
    assert init_modules()


@pytest.mark.parametrize("path", init_modules(), ids=module_name)
def test_the_init_imports_nothing_heavy(path: Path) -> None:
    """What runs inside a container imports what the list names and nothing else, inside functions too."""
    allowed = allowed_in_the_init()
    for line, name in imports(path, type_checking=False):
        assert within(name, allowed), f"{path}:{line}: the init may not import {name}"


@pytest.mark.parametrize("path", init_modules(), ids=module_name)
def test_the_init_imports_when_it_starts(path: Path) -> None:
    """The launcher switches the import system off once it runs (RT-04), so nothing may be imported by a function."""
    late = [
        f"{path}:{inner.lineno}"
        for node in ast.walk(syntax(path))
        if isinstance(node, ast.FunctionDef)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    ]
    assert late == []


@pytest.mark.parametrize("statement", COST)
def test_imports_are_lazy(statement: str) -> None:
    """An import loads neither the heavy libraries nor, by surprise, another room."""
    loaded = modules_loaded_by(statement)
    assert not loaded & COST[statement]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_loads_only_what_it_needs(command: str) -> None:
    """Neither attrs nor typing, patterns, logging or ctypes, and few modules of our own."""
    modules_of_it, standard, most = COMMANDS[command]
    names = ("_call", "_early", "_flags", "_log", "_table", *modules_of_it)
    loaded = modules_loaded_by("\n".join(f"import ociworks.runtime.cli.{name}" for name in names))
    ours = {name for name in loaded if name.startswith("ociworks")}
    assert not loaded - ours - standard
    assert len(ours) <= most, sorted(ours)


def test_a_bundle_is_read_and_planned_without_attrs(tmp_path: Path) -> None:
    """Also what is loaded only when the configuration asks for it."""
    (tmp_path / "config.json").write_bytes(to_json(default_spec()))
    code = (
        "from ociworks.runtime.plan.build import build\n"
        "from ociworks.runtime.seccomp.value import CompiledFilter\n"
        "from ociworks.spec import _config\n"
        f"loaded = _config.load({os.fspath(tmp_path)!r})\n"
        "build(loaded, 'c', compiler=lambda _: CompiledFilter(program=bytes(8)))\n"
    )
    loaded = modules_loaded_by(code)
    assert not {name for name in loaded if not name.startswith("ociworks")} - CREATE_STANDARD


@pytest.mark.parametrize("home", ["spec", "image", "runtime"])
def test_arrows_hold_when_run(home: str) -> None:
    """Loading every module of a room loads no room that it may not see, however it is imported."""
    names = [module_name(path) for path in modules() if room(module_name(path)) == home]
    names = [name for name in names if not name.endswith("__main__") and "._init" not in name]
    loaded = modules_loaded_by("\n".join(f"import {name}" for name in names))
    rooms = {found for name in loaded if (found := room(name))}
    assert rooms <= ARROWS[home] | {home}


def modules_loaded_by(code: str) -> set[str]:
    """The names in ``sys.modules`` after ``code`` in a fresh interpreter, less those it starts with."""
    script = f"import sys\nbefore = set(sys.modules)\n{code}\nprint(*(set(sys.modules) - before), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())
