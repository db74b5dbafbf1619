"""Runtimes by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from ociworks.cri import Handler
from ociworks.cri.handlers import Handlers
from ociworks.errors import InvalidRequest, MissingDependency
from ociworks.runtime import Runtime
from ociworks.spec import FrozenDict
from tests.cri.nodes import config_below


def test_the_default_one(tmp_path: Path) -> None:
    """By its name and by none; one runtime, below our state directory."""
    handlers = Handlers(config_below(tmp_path), {})
    assert handlers.get("") is handlers.get("ociworks")
    assert (handlers.chosen(""), handlers.chosen("ociworks")) == ("ociworks", "ociworks")
    assert handlers.get("").root == str(tmp_path / "state" / "runtime" / "ociworks")
    handlers.close()


def test_features_are_told(tmp_path: Path) -> None:
    """Ours can do both; the kubelet looks for the default one under no name."""
    found = {item.name: item.features for item in Handlers(config_below(tmp_path), {}).describe()}
    assert set(found) == {"", "ociworks"}
    assert found[""].recursive_read_only_mounts
    assert found[""] == found["ociworks"]


def test_unknown_ones(tmp_path: Path) -> None:
    """The message names those there are."""
    with pytest.raises(InvalidRequest, match="expected one of ociworks, got 'kata'"):
        Handlers(config_below(tmp_path), {}).get("kata")


def test_a_missing_program_harms_nobody_else(tmp_path: Path) -> None:
    """It has no features, and pods that want it are told."""
    config = config_below(tmp_path, handlers=FrozenDict({"kata": Handler(program="/no/kata")}))
    handlers = Handlers(config, {})
    assert {item.name for item in handlers.describe()} == {"", "ociworks", "kata"}
    with pytest.raises(MissingDependency):
        handlers.get("kata")


def test_an_applications_own(tmp_path: Path) -> None:
    """It stands before ours, keeps its root, and is not closed with us."""
    with Runtime(tmp_path / "own") as own:
        handlers = Handlers(config_below(tmp_path), {"ociworks": own, "other": own})
        assert handlers.get("") is own
        assert handlers.get("other") is own
        handlers.close()
