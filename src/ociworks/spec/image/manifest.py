"""Image manifests (image-spec manifest.md); Docker's schema 2 manifests are read as the same value."""

from __future__ import annotations

from collections.abc import Mapping

from ociworks._values import frozen
from ociworks.spec._model import Model
from ociworks.spec.frozen import FrozenDict
from ociworks.spec.image.descriptor import Descriptor, SchemaVersion

__all__ = ["Manifest"]


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Manifest(
    Model, required=("schema_version",), strict_case=True, nulls=True, forbidden=("manifests", "fsLayers")
):
    """One image for one platform, or an artifact: a configuration and layers, base first.

    Members of an index or of Docker schema 1 make a document that others read as something else: they are refused.
    """

    schema_version: SchemaVersion = 2
    media_type: str | None = None
    artifact_type: str | None = None
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    """The manifest that this one says something about (distribution-spec, Listing Referrers)."""
    annotations: Mapping[str, str] = FrozenDict()
