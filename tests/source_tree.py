"""The source tree as the structural tests see it: files, modules and their syntax trees."""

from __future__ import annotations

import ast
import functools
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["CHECKOUT", "PACKAGE", "imports", "module_name", "modules", "syntax", "text_files"]

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGE = CHECKOUT / "src" / "ociworks"

_TEXT = {".py", ".pyi", ".md", ".toml", ".sh", ".c", ".json", ".yml", ".yaml", ".ipynb", ".proto", ".cfg", ""}
_NOT_OURS = {"__pycache__", "build", "dist", "node_modules"}


def text_files() -> Iterator[Path]:
    """Every text file of the project; hidden directories are not looked into, except ``.ci``."""
    for folder, folders, files in os.walk(CHECKOUT):
        folders[:] = sorted(
            name for name in folders if name == ".ci" or (name not in _NOT_OURS and not name.startswith("."))
        )
        for name in sorted(set(files) - {".git"}):  # in a linked worktree it is a file, and git's own
            path = Path(folder, name)
            if path.suffix in _TEXT and not path.is_symlink():
                yield path


def modules() -> list[Path]:
    """Every Python file of the package that somebody wrote: not what ``scripts/protos`` generates."""
    return sorted(path for path in PACKAGE.rglob("*.py") if "_pb2" not in path.name)


@functools.cache
def syntax(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text("utf-8"), filename=str(path))


def module_name(path: Path) -> str:
    """``…/src/ociworks/spec/__init__.py`` → ``ociworks.spec``."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, type_checking: bool) -> Iterator[tuple[int, str]]:
    """Line and absolute name of all that a file imports, at any depth, ``from x import y`` as ``x.y``.

    ``importlib.import_module`` and ``__import__`` with a literal count too; imports for the type checker
    only when ``type_checking`` is set.
    """
    skipped = set() if type_checking else _type_checking_nodes(syntax(path))
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(syntax(path)):
        if id(node) in skipped:
            continue
        for name in _imported(node, package):
            yield getattr(node, "lineno", 0), name


def _imported(node: ast.AST, package: list[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else []
        start = ".".join([*base, *([node.module] if node.module else [])])
        yield from (f"{start}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and _called(node) in {"import_module", "__import__"} and node.args:
        first = node.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield first.value if not first.value.startswith(".") else ".".join(package) + first.value


def _called(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _type_checking_nodes(tree: ast.Module) -> set[int]:
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            found.update(id(inner) for statement in node.body for inner in ast.walk(statement))
    return found
