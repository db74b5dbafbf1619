"""Repack of an overlay's upper directory: as of its layer, or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ociworks.errors import LayerError
from ociworks.image import Layer, LayerOptions
from tests.image.archives import apply
from tests.image.repacked import BASE, again, archive, shown
from tests.image.test_files import facts


def upper_of(folder: Path, lower: bytes, changes: Any, options: str = "") -> tuple[Path, Path]:
    """Mount an overlay, change it, and give its upper directory and a copy of the merged tree."""
    places = {name: folder / name for name in ("lower", "upper", "work", "merged", "copy")}
    for place in places.values():
        place.mkdir(0o755)
    apply(places["lower"], lower)
    data = ",".join([*(f"{name}dir={places[name]}" for name in ("lower", "upper", "work")), options]).strip(
        ","
    )
    done = subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", data, places["merged"]],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"overlay cannot be mounted here: {done.stderr.strip()}")
    try:
        changes(places["merged"])
        subprocess.run(["cp", "-a", f"{places['merged']}/.", places["copy"]], check=True)
    finally:
        subprocess.run(["umount", places["merged"]], check=True)
    return places["upper"], places["copy"]


def change(merged: Path) -> None:
    (merged / "etc/passwd").write_bytes(b"changed")
    (merged / "etc/hosts").unlink()
    shutil.rmtree(merged / "data")
    (merged / "data").mkdir()
    (merged / "data/fresh").write_bytes(b"f")
    (merged / "new").mkdir()
    os.link(merged / "etc/passwd", merged / "new/hard")
    (merged / "new/link").symlink_to("../etc")
    (merged / "empty").chmod(0o600)


@pytest.mark.root
@pytest.mark.parametrize("options", ["", "userxattr"])
def test_an_upper_directory_does_the_same_as_its_layer(tmp_path: Path, options: str) -> None:
    upper, merged = upper_of(tmp_path, BASE, change, options)
    made = Layer.from_overlay_upper(upper)
    names = shown(made)
    assert {"f etc/.wh.hosts", "f data/.wh..wh..opq", "f data/fresh", "h new/hard"} <= set(names)
    assert all(not item.xattrs for item in made.entries())
    assert facts(again(tmp_path, BASE, archive(made))) == facts(merged)
    assert Layer.from_overlay_upper(upper) == made


@pytest.mark.root
def test_renamed_directories_are_refused(tmp_path: Path) -> None:
    upper, _ = upper_of(
        tmp_path, BASE, lambda merged: (merged / "data").rename(merged / "moved"), "redirect_dir=on"
    )
    with pytest.raises(LayerError, match=r"moved.*redirect_dir"):
        Layer.from_overlay_upper(upper)


@pytest.mark.root
def test_copied_metadata_is_refused(tmp_path: Path) -> None:
    upper, _ = upper_of(tmp_path, BASE, lambda merged: (merged / "etc/passwd").chmod(0o600), "metacopy=on")
    with pytest.raises(LayerError, match=r"passwd.*metacopy"):
        Layer.from_overlay_upper(upper)


def test_whiteouts_of_mounts_in_user_namespaces(tmp_path: Path) -> None:
    """Attributes that a mount with userxattr leaves, made by hand."""
    upper = tmp_path / "upper"
    (upper / "dir").mkdir(parents=True)
    (upper / "dir/gone").write_bytes(b"")
    (upper / "dir/kept").write_bytes(b"")
    try:
        os.setxattr(upper / "dir", "user.overlay.opaque", b"x")
        os.setxattr(upper / "dir/gone", "user.overlay.whiteout", b"")
        os.setxattr(upper / "dir/kept", "user.overlay.origin", b"...")
        os.setxattr(upper / "dir/kept", "user.note", b"mine")
    except OSError:
        pytest.skip("no user attributes on this file system")
    made = Layer.from_overlay_upper(upper, options=LayerOptions())
    assert shown(made) == ["d dir", "f dir/.wh.gone", "f dir/kept"]
    assert [item.xattrs for item in made.entries()] == [{}, {}, {b"user.note": b"mine"}]
    os.setxattr(upper / "dir", "user.overlay.opaque", b"y")
    assert "f dir/.wh..wh..opq" in shown(Layer.from_overlay_upper(upper))
