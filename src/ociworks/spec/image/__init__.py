"""The image specification 1.1.1 as values; Docker's schema 2 documents are read as the same ones.

``descriptor`` (Descriptor, EMPTY), ``manifest``, ``index``, ``config`` (ImageConfiguration, Config, RootFS, History,
Healthcheck), ``layout``, ``mediatypes`` and ``annotations`` (constants, and what media types say), ``dispatch``
(`media_type_of` and `read_manifest`: the one decision what a manifest's bytes are).

Names are loaded when first used.
"""

# No `from __future__ import annotations` here: it would be taken for the submodule of that name.
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ociworks.spec.image import annotations as annotations
    from ociworks.spec.image import mediatypes as mediatypes
    from ociworks.spec.image.config import Config, Healthcheck, History, ImageConfiguration, RootFS
    from ociworks.spec.image.descriptor import EMPTY, Descriptor
    from ociworks.spec.image.dispatch import TypedManifest, media_type_of, read_manifest
    from ociworks.spec.image.index import Index
    from ociworks.spec.image.layout import Layout
    from ociworks.spec.image.manifest import Manifest

__all__ = [
    "EMPTY",
    "Config",
    "Descriptor",
    "Healthcheck",
    "History",
    "ImageConfiguration",
    "Index",
    "Layout",
    "Manifest",
    "RootFS",
    "TypedManifest",
    "annotations",
    "media_type_of",
    "mediatypes",
    "read_manifest",
]

_HOMES = {
    "config": ("Config", "Healthcheck", "History", "ImageConfiguration", "RootFS"),
    "descriptor": ("EMPTY", "Descriptor"),
    "dispatch": ("TypedManifest", "media_type_of", "read_manifest"),
    "index": ("Index",),
    "layout": ("Layout",),
    "manifest": ("Manifest",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
_MODULES = frozenset({"annotations", "mediatypes"})


def __getattr__(name: str) -> object:
    """Load a name when it is first used."""
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
