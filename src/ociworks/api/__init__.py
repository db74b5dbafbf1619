"""The porcelain: one obvious function per job; each is a few calls to the packages below.

- ``images``: ``pull``, ``push``, ``stored``, ``verify``, and where the default store is
- ``containers``: ``run``; ``prepare`` and ``configure`` for those who want the container itself
- ``options``: ``RunOptions``, what a person may choose for a container
"""

from ociworks.api.containers import configure, prepare, run
from ociworks.api.images import default_store, pull, push, stored, verify
from ociworks.api.options import RunOptions

__all__ = ["RunOptions", "configure", "default_store", "prepare", "pull", "push", "run", "stored", "verify"]
