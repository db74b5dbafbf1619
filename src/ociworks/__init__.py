"""Containers as a typed Python library: from a registry to a running process, without a daemon.

Importing this costs next to nothing: every name below is loaded when it is first used (PEP 562).

- ``api``: the porcelain, one function per job; ``pull``, ``push``, ``copy``, ``run`` and ``verify`` are also here
- ``spec``: the OCI, CNI and CDI documents as frozen values
- ``image``: sources, sinks, transforms and questions about images
- ``runtime``: containers, from a bundle to a running process
- ``cri``: pods for a kubelet: the Container Runtime Interface; needs ``ociworks[cri]``
- ``testing``: an in-process registry and made-up images, for your tests and ours
- ``errors``: every error, drawn as a tree
- ``cli``: the command ``ociworks``; ``__main__`` is ``python -m ociworks``
- ``_linux``: system calls; ``_values``: frozen classes that cost nothing to make; ``_packs``: what a command imports,
  in one file; all private
"""

from __future__ import annotations

TYPE_CHECKING = False  # not from typing: that import would be most of the cost of this file
if TYPE_CHECKING:
    from ociworks import api, errors, image, runtime, spec, testing
    from ociworks.api import CopyOptions, RunOptions, copy, opened, pull, push, run, verify
    from ociworks.errors import OciworksError
    from ociworks.image.copy import ALL
    from ociworks.runtime import CompletedContainer

__all__ = [
    "ALL",
    "CompletedContainer",
    "CopyOptions",
    "OciworksError",
    "RunOptions",
    "__version__",
    "api",
    "copy",
    "errors",
    "image",
    "opened",
    "pull",
    "push",
    "run",
    "runtime",
    "spec",
    "testing",
    "verify",
]

__version__ = "0.1.0"

_SUBMODULES = frozenset({"api", "errors", "image", "runtime", "spec", "testing"})
_HOMES = {
    "ALL": "image.copy",
    "CompletedContainer": "runtime",
    "CopyOptions": "api",
    "OciworksError": "errors",
    "RunOptions": "api",
    "copy": "api",
    "opened": "api",
    "pull": "api",
    "push": "api",
    "run": "api",
    "verify": "api",
}


if not TYPE_CHECKING:  # a type checker shall find misspelt names, so it must not see this

    def __getattr__(name: str) -> object:
        """Load a public name when it is first used."""
        if name not in _SUBMODULES and name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        if name in _SUBMODULES:
            return import_module(f"{__name__}.{name}")
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
