"""Garbage of the default store: blobs, and layers that were unpacked beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ociworks import api
from ociworks.image import Image, layout
from ociworks.image.store import Snapshots
from ociworks.testing import image_from_layers
from tests.image.archives import file, layer


def image(*names: str) -> Image:
    """One layer for each name."""
    return image_from_layers([layer(file(name.encode(), name.encode() * 100)) for name in names])


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> layout.Layout:
    """A default store with two images that share a layer; both are unpacked, and one that is not in the store."""
    monkeypatch.setenv("OCIWORKS_STORE", str(tmp_path / "layout"))
    made = layout.open(tmp_path / "layout", create=True)
    with Snapshots(tmp_path / "snapshots") as snapshots:
        for img, tag in (
            (image("base", "one"), "one"),
            (image("base", "two"), "two"),
            (image("loose"), None),
        ):
            if tag is not None:
                made.put(img, tag)
            snapshots.prepare(img).close()
    return made


def layers(tmp_path: Path) -> set[str]:
    """The chain IDs that are unpacked."""
    with Snapshots(tmp_path / "snapshots") as snapshots:
        return {str(chain_id) for chain_id in snapshots.chain_ids()}


def chain(*names: str) -> set[str]:
    """Those of an image."""
    return {str(chain_id) for chain_id in image(*names).config.rootfs.chain_ids()}


def test_layers_go_with_their_images(store: layout.Layout, tmp_path: Path) -> None:
    """What no image has goes at once; a shared layer stays until its last image has gone."""
    assert layers(tmp_path) == chain("base", "one") | chain("base", "two") | chain("loose")
    first = api.gc()
    assert (first.removed, {str(each) for each in first.layers}) == ((), chain("loose"))
    assert first.unpacked > 0
    store.delete(store.image("one").digest)
    said = api.gc(dry_run=True)
    assert {str(each) for each in said.layers} == chain("base", "one") - chain("base")
    assert layers(tmp_path) == chain("base", "one") | chain("base", "two")
    assert api.gc() == said
    assert layers(tmp_path) == chain("base", "two")
    store.delete(store.image("two").digest)
    assert {str(each) for each in api.gc().layers} == chain("base", "two")
    assert (layers(tmp_path), api.gc().kept) == (set(), 0)


def test_what_is_leased_or_used_stays(store: layout.Layout, tmp_path: Path) -> None:
    """A lease keeps an image's layers with its blobs, and whoever has a snapshot open keeps that."""
    one = store.image("one")
    with store.lease() as lease, Snapshots(tmp_path / "snapshots") as snapshots:
        lease.hold(one)
        store.delete(one.digest)
        with snapshots.prepare(image("loose")):
            assert api.gc().layers == ()
        assert {str(each) for each in api.gc().layers} == chain("loose")
    assert {str(each) for each in api.gc().layers} == chain("base", "one") - chain("base")


def test_other_stores(store: layout.Layout, tmp_path: Path) -> None:
    """Of another store the blobs alone are collected: its images were unpacked nowhere."""
    other = layout.open(tmp_path / "other", create=True)
    other.put(image("base", "one"), "x")
    other.delete(other.image("x").digest)
    before = layers(tmp_path)
    collected = api.gc(tmp_path / "other")
    assert (len(collected.removed), collected.layers) == (4, ())
    assert layers(tmp_path) == before
    assert api.gc(tmp_path / "layout").layers


def test_layers_of_another_form(store: layout.Layout, tmp_path: Path) -> None:
    """Those that this user may not share are left alone; the blobs are collected."""
    (tmp_path / "snapshots" / "form").write_bytes(b"another")
    assert api.gc().layers == ()


def test_a_damaged_store(store: layout.Layout, tmp_path: Path) -> None:
    """Blobs that are no configurations, whatever they look like, need no layers; nothing breaks."""
    for number, content in enumerate((b"{", b"{}", b'{"rootfs": {"diff_ids": 7}}', b"\x00", b"[" * 5000)):
        (tmp_path / "layout/blobs/sha256" / f"{number:064x}").write_bytes(content)
    assert {str(each) for each in api.gc().layers} == chain("loose")
