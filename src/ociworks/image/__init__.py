"""Images: sources and sinks that speak the same three protocols, and questions to ask of them.

::

    from ociworks.image import layout, remote

    with remote.Client() as registry, layout.open("store", create=True) as store:
        img = registry.image("registry.example/app:1.4", platform="linux/arm64")   # manifest and config only
        store.put(img, tag="app:1.4")                                               # blobs, verified, in parallel

==========================  ====================================================================================
where                       what
==========================  ====================================================================================
``types``                   the protocols Image, ImageIndex, Layer; attributes never do I/O
``partial``                 complete images from their documents and a source of blobs
``stream``, ``memory``      verified streams (``_beside``: hashed in a thread of their own); blobs in memory
``reference``, ``origin``   image references; hosts, origins and URLs
``progress``, ``bars``      progress events for a plain callback; callbacks that draw bars, in notebooks too
``remote``, ``auth``        registries: pull, push, resolve; credentials bound to their origin
``artifact``                what is no container image, as a manifest: SBOMs, signatures, charts
``hosts``                   mirrors, certificates, proxies and short names as this host has them configured
``layout``                  the OCI layout as a content-addressable store, shared by processes; below it ``_catalog``
                            (named documents), ``_cas`` (blobs by digest), ``_seen`` (what was verified), ``_files``
                            (opened without links, locked, replaced), ``_parallel`` (several at a time)
``location``                where an image is, as text: ``docker://…``, ``oci:DIR:TAG``, ``docker-archive:FILE`` …
``copy``, ``_places``       from any place to any other; ``convert``: Docker's media types and OCI's
``archive``                 files of images: oci-archive, docker-archive; read in place, written whole
``store``                   unpacked layers, shared by images: snapshots for overlayfs
``tar``                     archives: bounded reading, reproducible writing, compression; ``_archives`` (a layer's)
``_unpack``                 layers to a root filesystem (``unpack``)
``layer``, ``_pack``        making layers from directories, files, archives and entries; ``repack``
``files``, ``_export``      the files of an image without unpacking it; as one archive (``export``); below them
                            ``_merged`` (the tree that the layers come to), ``_delta`` (what layers change together)
``mutate``                  transforms: append, config, annotate, rebase, index building …; Image to Image
``validate``                every problem of an image or index
``diff``                    what two images differ in
``notebook``, ``units``     how values look in a notebook; sizes as people read them
``sign``                    signatures of images: verify, make, decide by policy
``bundle``, ``users``       image configuration to runtime configuration; the image's user database
==========================  ====================================================================================

Importing this package loads no module; names are loaded when first used (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ociworks.image import (
        archive,
        artifact,
        auth,
        diff,
        hosts,
        layout,
        mutate,
        partial,
        progress,
        remote,
        sign,
        store,
        validate,
    )
    from ociworks.image._export import export, merged_entries
    from ociworks.image._pack.repack import RepackOptions, repack
    from ociworks.image._unpack import Mappings, remove_bundle, unpack, unpack_layers
    from ociworks.image.bundle import RuntimeOptions, runtime_spec
    from ociworks.image.files import ImageFiles
    from ociworks.image.layer import File, LayerBuilder, LayerOptions
    from ociworks.image.location import Location
    from ociworks.image.progress import Progress
    from ociworks.image.reference import Reference
    from ociworks.image.tar import Limits
    from ociworks.image.types import Image, ImageIndex, Layer
    from ociworks.image.users import resolve_user

__all__ = [
    "File",
    "Image",
    "ImageFiles",
    "ImageIndex",
    "Layer",
    "LayerBuilder",
    "LayerOptions",
    "Limits",
    "Location",
    "Mappings",
    "Progress",
    "Reference",
    "RepackOptions",
    "RuntimeOptions",
    "archive",
    "artifact",
    "auth",
    "diff",
    "export",
    "hosts",
    "layout",
    "merged_entries",
    "mutate",
    "partial",
    "progress",
    "remote",
    "remove_bundle",
    "repack",
    "resolve_user",
    "runtime_spec",
    "sign",
    "store",
    "unpack",
    "unpack_layers",
    "validate",
]

_HOMES = {
    "RepackOptions": "ociworks.image._pack.repack",
    "repack": "ociworks.image._pack.repack",
    "ImageFiles": "ociworks.image.files",
    "export": "ociworks.image._export",
    "merged_entries": "ociworks.image._export",
    "File": "ociworks.image.layer",
    "Image": "ociworks.image.types",
    "ImageIndex": "ociworks.image.types",
    "Layer": "ociworks.image.types",
    "LayerBuilder": "ociworks.image.layer",
    "LayerOptions": "ociworks.image.layer",
    "Limits": "ociworks.image.tar.limits",
    "Location": "ociworks.image.location",
    "Mappings": "ociworks.image._unpack",
    "Progress": "ociworks.image.progress",
    "Reference": "ociworks.image.reference",
    "RuntimeOptions": "ociworks.image.bundle",
    "remove_bundle": "ociworks.image._unpack",
    "resolve_user": "ociworks.image.users",
    "runtime_spec": "ociworks.image.bundle",
    "unpack": "ociworks.image._unpack",
    "unpack_layers": "ociworks.image._unpack",
}
_MODULES = frozenset(
    {
        "archive",
        "artifact",
        "auth",
        "diff",
        "hosts",
        "layout",
        "mutate",
        "partial",
        "progress",
        "remote",
        "sign",
        "store",
        "validate",
    }
)


def __getattr__(name: str) -> object:
    """Load a public name when it is first used."""
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
