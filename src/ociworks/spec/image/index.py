"""Image indexes (image-spec image-index.md); Docker's manifest lists are read as the same value."""

from __future__ import annotations

from collections.abc import Mapping

from ociworks._values import frozen
from ociworks.spec._model import Model
from ociworks.spec.frozen import FrozenDict
from ociworks.spec.image.descriptor import Descriptor, SchemaVersion
from ociworks.spec.platform import Platform, select

__all__ = ["Index"]


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Index(
    Model,
    required=("schema_version",),
    strict_case=True,
    nulls=True,
    forbidden=("config", "layers", "fsLayers"),
):
    """A list of manifests, one for each platform; also the answer to a referrers request and a layout's index.json.

    Members of a manifest or of Docker schema 1 make a document that others read as something else: they are refused.
    """

    schema_version: SchemaVersion = 2
    media_type: str | None = None
    artifact_type: str | None = None
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: Mapping[str, str] = FrozenDict()

    def select(self, wanted: Platform, *, allow_32bit: bool = False) -> Descriptor | None:
        """The entry whose platform fits best, the first of equals; None when none runs there.

        Entries without a platform are not considered; see `ociworks.spec.platform.select`.
        """
        place = select(wanted, (entry.platform for entry in self.manifests), allow_32bit=allow_32bit)
        return None if place is None else self.manifests[place]
