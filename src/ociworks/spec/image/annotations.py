"""The annotation keys that the specification defines (image-spec annotations.md, Pre-Defined Annotation Keys)."""

from __future__ import annotations

from typing import Final

__all__ = [
    "AUTHORS",
    "BASE_DIGEST",
    "BASE_NAME",
    "CREATED",
    "DESCRIPTION",
    "DOCUMENTATION",
    "LICENSES",
    "REF_NAME",
    "REVISION",
    "SOURCE",
    "TITLE",
    "URL",
    "VENDOR",
    "VERSION",
]

_PREFIX: Final = "org.opencontainers.image."

CREATED: Final = f"{_PREFIX}created"
"""When the image was built, RFC 3339."""
AUTHORS: Final = f"{_PREFIX}authors"
"""Who is responsible, in free form."""
URL: Final = f"{_PREFIX}url"
"""Where to learn more."""
DOCUMENTATION: Final = f"{_PREFIX}documentation"
"""The address of the documentation."""
SOURCE: Final = f"{_PREFIX}source"
"""The address of the source code."""
VERSION: Final = f"{_PREFIX}version"
"""The version of the packaged software."""
REVISION: Final = f"{_PREFIX}revision"
"""The revision in source control."""
VENDOR: Final = f"{_PREFIX}vendor"
"""Who distributes it."""
LICENSES: Final = f"{_PREFIX}licenses"
"""An SPDX licence expression."""
REF_NAME: Final = f"{_PREFIX}ref.name"
"""The name of a target, on the descriptors of a layout's index.json: its tag."""
TITLE: Final = f"{_PREFIX}title"
"""A title for people."""
DESCRIPTION: Final = f"{_PREFIX}description"
"""A description for people."""
BASE_DIGEST: Final = f"{_PREFIX}base.digest"
"""The digest of the image that this one is built on."""
BASE_NAME: Final = f"{_PREFIX}base.name"
"""The full reference of the image that this one is built on."""
