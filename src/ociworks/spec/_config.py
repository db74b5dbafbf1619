"""The config.json of a bundle, read once; what `Bundle` and a command that starts a process each time share."""

from __future__ import annotations

import os
import stat

from ociworks._values import frozen
from ociworks.errors import InvalidJSON, InvalidSpec
from ociworks.spec import _json
from ociworks.spec._io import parse
from ociworks.spec.runtime import Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["CONFIG", "Loaded", "load"]

CONFIG: Final = "config.json"
"""The name of the configuration in a bundle."""


@frozen
class Loaded:
    """A bundle as it was read."""

    path: str
    spec: Spec
    raw: bytes
    """The bytes of config.json."""


def load(directory: str) -> Loaded:
    """Read the configuration in an absolute directory; raises what `Bundle.load` does."""
    name = f"{directory.rstrip('/')}/{CONFIG}"
    try:
        raw = _read(name)
        return Loaded(directory, parse(Spec, raw), raw)
    except InvalidSpec as error:
        raise InvalidSpec(error.problems, name) from None
    except InvalidJSON as error:
        raise InvalidJSON(f"{name}: {error}") from None


def _read(name: str) -> bytes:
    # O_NONBLOCK: opening a FIFO must not hang before its type is known.
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise InvalidJSON("expected a regular file")
        return file.read(_json.MAX_SIZE + 1)
