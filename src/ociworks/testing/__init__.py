"""For tests of tools that use ociworks, and for its own: no fixtures, no network.

- ``images``: reproducible images in memory, of given files or of random bytes.
- ``kernel``: `FakeKernel`, which carries out containers' plans without privileges (``_fake_init`` is its helper).
- ``registry``: a distribution-spec server in this process, in memory or on a directory, with faults on demand
  (``_registry`` has its parts).

::

    with testing.Registry() as registry, remote.Client() as client:
        client.push(testing.random_image(layers=3), f"{registry.host}/app:1")

Importing this package loads no module; names are loaded when first used (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ociworks.testing.images import (
        File,
        image_from_files,
        image_from_layers,
        random_image,
        random_index,
    )
    from ociworks.testing.kernel import FakeKernel, FakeProcess, FakeProgram
    from ociworks.testing.registry import Fault, Registry, RegistryLimits, RegistryOptions

__all__ = [
    "FakeKernel",
    "FakeProcess",
    "FakeProgram",
    "Fault",
    "File",
    "Registry",
    "RegistryLimits",
    "RegistryOptions",
    "image_from_files",
    "image_from_layers",
    "random_image",
    "random_index",
]

_HOMES = {
    "FakeKernel": "ociworks.testing.kernel",
    "FakeProcess": "ociworks.testing.kernel",
    "FakeProgram": "ociworks.testing.kernel",
    "Fault": "ociworks.testing.registry",
    "File": "ociworks.testing.images",
    "Registry": "ociworks.testing.registry",
    "RegistryLimits": "ociworks.testing.registry",
    "RegistryOptions": "ociworks.testing.registry",
    "image_from_files": "ociworks.testing.images",
    "image_from_layers": "ociworks.testing.images",
    "random_image": "ociworks.testing.images",
    "random_index": "ociworks.testing.images",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
