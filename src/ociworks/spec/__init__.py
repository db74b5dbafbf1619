"""The specifications as values: read strictly, validated with every problem at once, written back without loss.

::

    spec.parse(spec.image.Manifest, raw)     bytes → frozen value, or InvalidJSON / InvalidSpec
    spec.to_json(value)                      value → bytes; unknown members are written back
    spec.validate(value)                     value → list[Problem]: the rules that the prose states

Files:

- reading and writing: ``_io`` (``parse``, ``parse_yaml``, ``to_json``), ``_json`` (strict JSON), ``_yaml`` (as strict),
  ``_model`` (what the classes share),
  ``_table``, ``_readers``, ``_convert`` (JSON ↔ values), ``_where`` (JSON paths),
  ``_config`` (a config.json), ``document`` (bytes and value)
- classes: ``runtime`` and ``image``, ``distribution``, ``cni``, ``cdi``, ``bundle``; rules: ``validate``
- kinds of text: ``digest``, ``platform``, ``numbers`` and ``signals`` (how external ones are read); ``frozen`` maps;
  ``users`` (names to numbers, by a root filesystem's own database)
- ``notebook``: how any of these values looks in a notebook
- ``defaults`` and ``defaults_seccomp``: the profile of a container for which nobody wrote one

Importing this package loads no class; names are loaded when first used (PEP 562).
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # not from typing: commands that start a process each load this
if TYPE_CHECKING:
    # "from ociworks.spec import …" would ask this very module, and mypy then misses submodules now and again.
    import ociworks.spec.cdi as cdi  # noqa: PLR0402
    import ociworks.spec.cni as cni  # noqa: PLR0402
    import ociworks.spec.distribution as distribution  # noqa: PLR0402
    import ociworks.spec.image as image  # noqa: PLR0402
    import ociworks.spec.runtime as runtime  # noqa: PLR0402
    from ociworks.errors import InvalidDigest, InvalidJSON, InvalidPlatform, InvalidSpec, Problem, SpecError
    from ociworks.spec._io import parse, parse_yaml, to_json
    from ociworks.spec._model import JSONValue, Model
    from ociworks.spec.bundle import Bundle
    from ociworks.spec.digest import Digest, Hasher, VerifyingReader
    from ociworks.spec.document import Document
    from ociworks.spec.frozen import FrozenDict
    from ociworks.spec.platform import Platform
    from ociworks.spec.validate import validate

__all__ = [
    "Bundle",
    "Digest",
    "Document",
    "FrozenDict",
    "Hasher",
    "InvalidDigest",
    "InvalidJSON",
    "InvalidPlatform",
    "InvalidSpec",
    "JSONValue",
    "Model",
    "Platform",
    "Problem",
    "SpecError",
    "VerifyingReader",
    "cdi",
    "cni",
    "distribution",
    "image",
    "parse",
    "parse_yaml",
    "runtime",
    "to_json",
    "validate",
]

_HOMES = {
    "Bundle": "ociworks.spec.bundle",
    "Digest": "ociworks.spec.digest",
    "Document": "ociworks.spec.document",
    "FrozenDict": "ociworks.spec.frozen",
    "Hasher": "ociworks.spec.digest",
    "InvalidDigest": "ociworks.errors",
    "InvalidJSON": "ociworks.errors",
    "InvalidPlatform": "ociworks.errors",
    "InvalidSpec": "ociworks.errors",
    "JSONValue": "ociworks.spec._model",
    "Model": "ociworks.spec._model",
    "Platform": "ociworks.spec.platform",
    "Problem": "ociworks.errors",
    "SpecError": "ociworks.errors",
    "VerifyingReader": "ociworks.spec.digest",
    "parse": "ociworks.spec._io",
    "parse_yaml": "ociworks.spec._io",
    "to_json": "ociworks.spec._io",
    "validate": "ociworks.spec.validate",
}
_MODULES = frozenset({"cdi", "cni", "distribution", "image", "runtime"})


def __getattr__(name: str) -> object:
    """Load a public name when it is first used."""
    if name in _MODULES:
        __import__(f"{__name__}.{name}")
        return sys.modules[f"{__name__}.{name}"]
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    __import__(_HOMES[name])
    value: object = getattr(sys.modules[_HOMES[name]], name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
