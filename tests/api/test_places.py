"""Images opened wherever they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from ociworks import api
from ociworks.errors import ImageNotFound, InvalidLocation
from ociworks.image import ImageIndex
from ociworks.image.copy import ALL
from ociworks.testing import Registry, random_image, random_index


@pytest.mark.parametrize("place", ["oci:{}/layout:x", "oci-archive:{}/a.tar:x", "store:reg.example/x:1"])
def test_opened(place: str, tmp_path: Path) -> None:
    """What was copied to a place is opened there."""
    where = place.format(tmp_path)
    options = api.CopyOptions(store=tmp_path / "store")
    made = random_image(layers=2)
    api.copy(made, where, options=options)
    with api.opened(where, options=options) as found:
        assert found.digest == made.digest
        with found.layers[0].open() as stream:
            assert stream.read()


def test_opened_in_a_registry(tmp_path: Path) -> None:
    """An index is one image for a platform, or itself; layers can be read while the block lasts."""
    index = random_index()
    with Registry() as registry:
        api.copy(index, f"{registry.host}/app:1", platforms=ALL)
        platforms = [str(entry.platform) for entry in index.index.manifests]
        with api.opened(f"{registry.host}/app:1", platform=platforms[-1]) as found:
            assert str(found.config.platform) == platforms[-1]
        with api.opened_document(f"docker://{registry.host}/app:1") as document:
            assert isinstance(document, ImageIndex)
            assert document.digest == index.digest
        with pytest.raises(ImageNotFound), api.opened(f"{registry.host}/app:1", platform="plan9/mips"):
            pass


def test_a_place_that_is_none() -> None:
    """Another program's transport is an error, not the name of an image."""
    with pytest.raises(InvalidLocation), api.opened("dir:/tmp/x"):
        pass
