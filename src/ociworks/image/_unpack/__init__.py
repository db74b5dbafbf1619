"""Unpacking: layers → root filesystem → bundle, safe by construction. Linux only.

The package has an underscore because its chief function is ``ociworks.image.unpack``, and a module of that name would
stand in its way.

================  ==========================================================================
file              what it holds
================  ==========================================================================
``bundle``        ``unpack`` and ``remove_bundle``
``staging``       a directory that becomes visible only when complete
``layers``        ``unpack_layers``, ``unpack_layer`` and ``apply_layer``
``pipeline``      one pass over a layer, verified, read ahead by a thread
``extractor``     one entry → one file
``directories``   directory descriptors, and what a layer did where
``removal``       replacing, whiteouts, opaque directories
``overlay``       a layer in a directory of its own, for overlayfs (``lower``, ``links``, ``copyup``)
``metadata``      owners, modes, times
``xattrs``        which extended attributes reach the disk
``policy``        options, limits' counters, the report
================  ==========================================================================
"""

from ociworks.image._unpack.bundle import remove_bundle, unpack
from ociworks.image._unpack.layers import apply_layer, unpack_layer, unpack_layers
from ociworks.image._unpack.overlay import OverlayForm
from ociworks.image._unpack.policy import Budget, DevicePolicy, LayerReport, Mappings, Skipped, UnpackOptions

__all__ = [
    "Budget",
    "DevicePolicy",
    "LayerReport",
    "Mappings",
    "OverlayForm",
    "Skipped",
    "UnpackOptions",
    "apply_layer",
    "remove_bundle",
    "unpack",
    "unpack_layer",
    "unpack_layers",
]
