"""Every document class of the package, wherever it stands, can be read and written."""

from __future__ import annotations

import ast
import importlib

import pytest

from ociworks.spec._model import Model
from ociworks.spec._table import table
from tests.source_tree import module_name, modules, syntax


def names_model(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "Model" for base in node.bases)


def is_model_of(value: object, home: str) -> bool:
    return isinstance(value, type) and issubclass(value, Model) and value.__module__ == home


HOMES = sorted(
    module_name(path)
    for path in modules()
    if any(isinstance(node, ast.ClassDef) and names_model(node) for node in ast.walk(syntax(path)))
)


@pytest.mark.parametrize("home", HOMES)
def test_every_model_has_fields(home: str) -> None:
    """One that attrs makes itself has none that the reader knows."""
    found = [value for value in vars(importlib.import_module(home)).values() if is_model_of(value, home)]
    assert found
    for cls in found:
        assert table(cls), cls
