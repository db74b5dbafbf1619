"""The porcelain: one obvious function per job; each is a few calls to the packages below.

- ``images``: ``pull``, ``push``, ``stored``, ``verify``, and where the default store is
- ``copying``: ``copy`` between registries, layouts, archives and the store
- ``containers``: ``run``; ``prepare`` and ``configure`` for those who want the container itself
- ``options``: ``RunOptions`` and ``CopyOptions``, what a person may choose
"""

from ociworks.api.containers import configure, prepare, run
from ociworks.api.copying import copy
from ociworks.api.images import default_store, pull, push, stored, verify
from ociworks.api.options import CopyOptions, RunOptions

__all__ = [
    "CopyOptions",
    "RunOptions",
    "configure",
    "copy",
    "default_store",
    "prepare",
    "pull",
    "push",
    "run",
    "stored",
    "verify",
]
