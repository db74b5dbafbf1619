"""Reading everything that ``index.json`` reaches, to find what is missing or damaged."""

from __future__ import annotations

from ociworks.errors import BlobNotFound, ContentError, LimitExceeded, Problem, SpecError
from ociworks.image import partial
from ociworks.image._catalog import Catalog
from ociworks.spec import Digest
from ociworks.spec.image import Descriptor, Index, mediatypes, read_manifest

__all__ = ["problems_of"]


def problems_of(catalog: Catalog) -> list[Problem]:
    """What is missing, damaged or not readable; each blob is read once."""
    problems: list[Problem] = []
    seen: set[Digest] = set()
    for entry in catalog.images():
        _check(catalog, entry, problems, seen, depth=0)
    return problems


def _check(
    catalog: Catalog, entry: Descriptor, problems: list[Problem], seen: set[Digest], depth: int
) -> None:
    if entry.digest in seen:
        return
    seen.add(entry.digest)
    path = f"blobs/{entry.digest.algorithm}/{entry.digest.encoded}"
    try:
        if not (mediatypes.is_index(entry.media_type) or mediatypes.is_manifest(entry.media_type)):
            with catalog.open_blob(entry):
                return
        value = read_manifest(partial.read_blob(catalog, entry), descriptor=entry).value
    except (BlobNotFound, ContentError, LimitExceeded, SpecError) as error:
        problems.append(Problem(path, str(error), "image-layout.md, Blobs"))
        return
    if depth >= partial.MAX_DEPTH:
        problems.append(Problem(path, f"indexes are nested deeper than {partial.MAX_DEPTH}"))
        return
    for child in value.manifests if isinstance(value, Index) else (value.config, *value.layers):
        _check(catalog, child, problems, seen, depth + 1)
