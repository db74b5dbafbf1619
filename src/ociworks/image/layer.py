"""Making layers: from directories, files, archives and entries. Most of it is at hand as constructors of ``Layer``.

::

    from ociworks.image import Layer

    site = Layer.from_directory("site", at="/srv/www", owner=(0, 0))
    motd = Layer.from_files({"/etc/motd": b"hello"}, compression="zstd")
    base = Layer.from_tar("rootfs.tar.gz")                             # the bytes as they are

A layer that was made keeps its bytes: in memory when they are few, else in a temporary file without a name (below
TMPDIR) that goes with the last reference. What was packed may change afterwards, the layer does not.
"""

from __future__ import annotations

from ociworks.image._pack.builder import LayerBuilder
from ociworks.image._pack.sources import File, LayerOptions, layer_from_entries

__all__ = ["File", "LayerBuilder", "LayerOptions", "layer_from_entries"]
