"""Images to unpack."""

from __future__ import annotations

from ociworks.image import Image
from ociworks.spec.image import Config
from ociworks.testing.images import Compression, image_from_layers
from tests.image.archives import file, layer

__all__ = ["CONFIG", "GOOD", "image"]

CONFIG = Config(cmd=("/bin/true",), env=("A=b",), working_dir="/srv")
GOOD = layer(file(b"x", b"1"))


def image(*layers: bytes, compression: Compression = "gzip") -> Image:
    """An image that can be run."""
    return image_from_layers(layers, config=CONFIG, compression=compression)
