"""The porcelain: one obvious function per job; each is a few calls to the packages below.

- ``images``: ``pull``, ``push``, ``stored``, ``verify``, and where the default store is
- ``copying``: ``copy`` between registries, layouts, archives and the store
- ``places``: ``opened``, to read an image wherever it is; ``clients``: ``host_client``, configured as this host is
- ``collecting``: ``gc``, of the store and of what was unpacked beside it
- ``containers``: ``run``; ``prepare`` and ``configure`` for those who want the container itself; ``_roots``: on layers
- ``options``: ``RunOptions`` and ``CopyOptions``, what a person may choose
"""

from ociworks.api.clients import host_client
from ociworks.api.collecting import Collected, gc
from ociworks.api.containers import configure, prepare, run
from ociworks.api.copying import copy
from ociworks.api.images import default_store, pull, push, stored, verify
from ociworks.api.options import CopyOptions, RunOptions
from ociworks.api.places import opened, opened_document

__all__ = [
    "Collected",
    "CopyOptions",
    "RunOptions",
    "configure",
    "copy",
    "default_store",
    "gc",
    "host_client",
    "opened",
    "opened_document",
    "prepare",
    "pull",
    "push",
    "run",
    "stored",
    "verify",
]
