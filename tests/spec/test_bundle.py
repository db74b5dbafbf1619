"""Bundles: a directory with a config.json, read strictly and written in one step."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ociworks import spec
from ociworks.spec import Bundle, runtime
from ociworks.spec.runtime import Process, Root, Spec

CONFIG = Spec(root=Root(path="rootfs"), process=Process(cwd="/", args=("true",)), annotations={"a": "ü"})


def test_create_then_load(tmp_path: Path) -> None:
    created = Bundle.create(tmp_path / "deep" / "bundle", CONFIG)
    loaded = Bundle.load(tmp_path / "deep" / "bundle")
    assert loaded == created
    assert loaded.spec == CONFIG
    assert loaded.path == tmp_path / "deep" / "bundle"
    assert loaded.rootfs == loaded.path / "rootfs"


def test_files_are_private_and_nothing_else_is_left(tmp_path: Path) -> None:
    bundle = Bundle.create(tmp_path / "b", CONFIG)
    bundle.save()
    assert stat.S_IMODE(bundle.config_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(bundle.path.stat().st_mode) == 0o700
    assert os.listdir(bundle.path) == ["config.json"]


def test_create_replaces_nothing(tmp_path: Path) -> None:
    """Not even a dangling symbolic link, and no temporary file stays."""
    (tmp_path / "config.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        Bundle.create(tmp_path, CONFIG)
    assert os.listdir(tmp_path) == ["config.json"]


def test_save_replaces_a_link_and_not_its_target(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    bundle = Bundle.create(tmp_path / "b", CONFIG)
    bundle.config_path.unlink()
    bundle.config_path.symlink_to(victim)
    bundle.save()
    assert victim.read_text() == "precious"
    assert Bundle.load(bundle.path).spec == CONFIG


def test_replace_writes_nothing_until_saved(tmp_path: Path) -> None:
    bundle = Bundle.create(tmp_path, CONFIG)
    changed = bundle.replace(Spec(root=Root(path="/absolute")))
    assert Bundle.load(tmp_path) == bundle
    changed.save()
    assert Bundle.load(tmp_path) == changed
    assert changed.rootfs == Path("/absolute")


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Bundle.create("b", CONFIG).path == tmp_path / "b"
    assert Bundle.load("b").rootfs == tmp_path / "b" / "rootfs"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    bundle = Bundle.create(tmp_path, CONFIG)
    with pytest.raises(spec.SpecError):
        bundle.replace(Spec(extra={"x": float("nan")})).save()
    assert os.listdir(tmp_path) == ["config.json"]
    assert Bundle.load(tmp_path) == bundle


def test_without_root_there_is_no_rootfs(tmp_path: Path) -> None:
    bundle = Bundle.create(
        tmp_path, Spec(windows=runtime.Windows(layer_folders=("C:\\l",), hyperv=runtime.HyperV()))
    )
    with pytest.raises(spec.SpecError, match="expected root.path, found none"):
        _ = bundle.rootfs


def test_load_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Bundle.load(tmp_path)
    (tmp_path / "config.json").write_bytes(b'{"ociVersion": 1}')
    with pytest.raises(spec.InvalidSpec, match=r"\$\.ociVersion: expected str, got int") as caught:
        Bundle.load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/config.json: 1 problem")
    (tmp_path / "config.json").write_bytes(b"{")
    with pytest.raises(spec.InvalidJSON, match="config.json: not JSON: "):
        Bundle.load(tmp_path)


def test_load_neither_blocks_nor_reads_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(spec.InvalidJSON, match="expected a regular file"):
        Bundle.load(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").mkdir()
    with pytest.raises((spec.InvalidJSON, IsADirectoryError)):
        Bundle.load(tmp_path)


def test_sp_02_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(spec.InvalidJSON, match="more than the 16777216 allowed"):
        Bundle.load(tmp_path)
