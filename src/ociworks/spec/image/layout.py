"""The ``oci-layout`` file (image-spec image-layout.md)."""

from __future__ import annotations

from ociworks._values import frozen
from ociworks.spec._model import Model

__all__ = ["Layout"]


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Layout(Model, required=("image_layout_version",), strict_case=True):
    """Marks a directory as an image layout."""

    image_layout_version: str = "1.0.0"
