"""The public face: every public module lists its names, and every name is there and documented."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
from pathlib import Path

import pytest

import ociworks
from tests.source_tree import PACKAGE, module_name, modules, syntax

PUBLIC = [path for path in modules() if not re.search(r"\._", module_name(path))]
PACKAGES = [path for path in modules() if path.name == "__init__.py"]


def exported(path: Path) -> list[str] | None:
    """The literal ``__all__`` of a file, or None."""
    for node in syntax(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return None


def defined(path: Path) -> set[str]:
    """The public functions and classes that a file defines."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return {
        node.name for node in syntax(path).body if isinstance(node, kinds) and not node.name.startswith("_")
    }


@pytest.mark.parametrize("path", PUBLIC, ids=module_name)
def test_all_is_literal_sorted_and_complete(path: Path) -> None:
    """``__all__`` is a list that can be read without running the module; nothing public is left out of it."""
    names = exported(path)
    assert names is not None, f"{path} has no literal __all__"
    assert names in (sorted(names), sorted(names, key=isort_style)), f"{path}: __all__ is not sorted"
    assert len(names) == len(set(names)), f"{path}: __all__ names something twice"
    assert defined(path) <= set(names), (
        f"{path}: public, but not in __all__: {sorted(defined(path) - set(names))}"
    )


def isort_style(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest: the order that ruff's RUF022 writes."""
    if name.isupper():
        return 0, name
    return (1 if name[0].isupper() else 2), name


@pytest.mark.parametrize("path", PUBLIC, ids=module_name)
def test_every_name_is_there_and_documented(path: Path) -> None:
    """Each listed name can be had from the module, and says what it is."""
    module = importlib.import_module(module_name(path))
    for name in exported(path) or []:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
            assert documented(value), f"{module.__name__}.{name} has no docstring of its own"


def documented(value: object) -> bool:
    """Whether a class, function or module has a docstring that a person wrote, for itself."""
    text = vars(value).get("__doc__") if inspect.isclass(value) else inspect.getdoc(value)
    if dataclasses.is_dataclass(value) and text and text.startswith(f"{getattr(value, '__name__', '')}("):
        return False
    return bool(text and text.strip())


@pytest.mark.parametrize("path", PACKAGES, ids=module_name)
def test_each_package_maps_its_files(path: Path) -> None:
    """The docstring of a package names every module in it: it is the way in for a reader."""
    text = ast.get_docstring(syntax(path)) or ""
    inside = {file.stem for file in path.parent.glob("*.py")} - {"__init__", "__main__"}
    inside |= {folder.parent.name for folder in path.parent.glob("*/__init__.py")}
    missing = {name for name in inside if not re.search(rf"\b{re.escape(name)}\b", text)}
    assert not missing, f"{path}: the docstring does not name {sorted(missing)}"


@pytest.mark.parametrize("path", PACKAGES, ids=module_name)
def test_dir_lists_what_is_exported(path: Path) -> None:
    """Lazy names are offered by ``dir`` too, so that a notebook completes them; an unknown name is one clear error."""
    module = importlib.import_module(module_name(path))
    assert set(exported(path) or []) <= set(dir(module))
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(module, "no_such_name")  # noqa: B009 - the attribute does not exist, on purpose


def test_version() -> None:
    """The version in the package is the version of the distribution."""
    text = (PACKAGE.parent.parent / "pyproject.toml").read_text("utf-8")
    assert f'\nversion = "{ociworks.__version__}"\n' in text


def test_the_drawing_of_the_errors_is_true() -> None:
    """The tree at the top of ociworks.errors names every error, at its place."""
    from ociworks import errors

    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.fullmatch(r"    ((?:[│ ] {3})*(?:[├└]── )?)([A-Z]\w+)(?:\s.*)?", line)
        if match:
            depth = len(match[1]) // 4
            above[depth:] = [match[2]]
            drawn[match[2]] = above[depth - 1] if depth else "Exception"
    for name in errors.__all__:
        value = getattr(errors, name)
        if inspect.isclass(value) and issubclass(value, Exception):
            assert value.__bases__[0].__name__ == drawn.pop(name, "not drawn"), name
    assert not drawn
