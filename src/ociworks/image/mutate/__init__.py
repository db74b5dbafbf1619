"""Change images: every function takes an image or index and gives another; nothing is changed in place.

::

    img = mutate.append(base, Layer.from_directory("site", at="/srv/www"))
    img = mutate.config(img, mutate.Changes(entrypoint=("nginx",), env={"LANG": "C.UTF-8", "DEBUG": None}))
    img = mutate.annotate(img, {"org.opencontainers.image.revision": "9f2c"})
    idx = mutate.index([img, mutate.config(other, mutate.Changes(user="1000"))])

What is promised of all of them: layers that stay are the same objects, and are not read unless the function says so;
history, diff IDs and descriptors fit each other afterwards; members that no specification names survive; documents that
say the same as before keep their bytes. Digests are always those of bytes.

==============  =============================================================================================
where           what
==============  =============================================================================================
``_append``     `append`: layers on top; `scratch`: the image without any
``_config``     `config`: the configuration, as a whole or a few fields (`Changes`)
``_annotate``   `annotate`, `subject`, `artifact_type`: of images and indexes
``_rebase``     `rebase`: lift an image from its base to another one
``_squash``     `flatten`, `squash`: several layers as one
``_time``       `time`: one time for files, history and documents
``_types``      `media_types`: OCI's types to Docker's and back
``_each``       `each`: the same change to every image of an index
``_index``      `index`, `append_manifests`, `remove_manifests`, `platforms`
``_build``      what they share: an image from changed parts
``_history``    which step of a history made which layer
==============  =============================================================================================

Names are loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ociworks.image.mutate._annotate import annotate, artifact_type, subject
    from ociworks.image.mutate._append import append, scratch
    from ociworks.image.mutate._config import Changes, config
    from ociworks.image.mutate._each import each
    from ociworks.image.mutate._index import Entry, append_manifests, index, platforms, remove_manifests
    from ociworks.image.mutate._rebase import rebase
    from ociworks.image.mutate._squash import flatten, squash
    from ociworks.image.mutate._time import time
    from ociworks.image.mutate._types import media_types

__all__ = [
    "Changes",
    "Entry",
    "annotate",
    "append",
    "append_manifests",
    "artifact_type",
    "config",
    "each",
    "flatten",
    "index",
    "media_types",
    "platforms",
    "rebase",
    "remove_manifests",
    "scratch",
    "squash",
    "subject",
    "time",
]

_NAMES = {
    "_annotate": ("annotate", "artifact_type", "subject"),
    "_append": ("append", "scratch"),
    "_config": ("Changes", "config"),
    "_each": ("each",),
    "_index": ("Entry", "append_manifests", "index", "platforms", "remove_manifests"),
    "_rebase": ("rebase",),
    "_squash": ("flatten", "squash"),
    "_time": ("time",),
    "_types": ("media_types",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
