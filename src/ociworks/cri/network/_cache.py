"""What was attached, on disk: a file for each attachment, as libcni has them, so that other tools find them.

A file is written before the plugins are asked to attach, without a result, and again with it: whoever finds it after a
crash knows what to undo, with the configuration, arguments and capabilities of then.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from ociworks import spec
from ociworks._values import frozen
from ociworks.cri.network._files import write_file
from ociworks.errors import NetworkError, SpecError, quote
from ociworks.spec import FrozenDict, JSONValue, Model
from ociworks.spec._model import Base64
from ociworks.spec.cni import Result
from ociworks.spec.validate.cni import is_plugin_type

__all__ = ["Cache", "Entry"]

logger = logging.getLogger(__name__)

_KIND: Final = "cniCacheV1"
_MAX_FILE: Final = 8 << 20


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Entry(
    Model, names={"container_id": "containerId", "namespace_identity": "ociworks.namespace"}, nulls=True
):
    """One attachment."""

    kind: str = _KIND
    container_id: str
    config: Base64
    """The configuration list that was used."""
    if_name: str
    network_name: str
    netns: str | None = None
    namespace_identity: str | None = None
    """Which namespace that path meant."""
    cni_args: tuple[tuple[str, ...], ...] = ()
    capability_args: Mapping[str, JSONValue] = FrozenDict()
    result: Result | None = None


class Cache:
    """The files below ``directory``/results. Safe for every thread, as long as each pod is left to one at a time."""

    def __init__(self, directory: str) -> None:
        self._place = f"{directory}/results"

    def put(self, entry: Entry) -> None:
        """Keep an attachment. NetworkError when it cannot be written."""
        write_file(self._place, _name(entry), spec.to_json(entry), 0o600)

    def drop(self, entry: Entry) -> None:
        """Forget an attachment; again is harmless."""
        with contextlib.suppress(FileNotFoundError), self._opened() as place:
            os.unlink(_name(entry), dir_fd=place)

    def of(self, id: str) -> list[Entry]:
        """The attachments of one pod."""
        return [entry for entry in self._read(f"-{id}-") if entry.container_id == id]

    def all(self) -> list[Entry]:
        """Every attachment."""
        return list(self._read("-"))

    def _read(self, part: str) -> Iterator[Entry]:
        """The entries whose file names contain ``part``; what cannot be read is reported and left alone."""
        try:
            with self._opened() as place:
                for name in sorted(os.listdir(place)):
                    if part not in name or name.startswith("."):
                        continue
                    try:
                        yield _parse(_content(place, name))
                    except FileNotFoundError:
                        continue
                    except (OSError, SpecError) as error:
                        logger.warning("%s/%s is left alone: %s", self._place, quote(name), error)
        except FileNotFoundError:
            return

    @contextmanager
    def _opened(self) -> Iterator[int]:
        fd = os.open(self._place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            yield fd
        finally:
            os.close(fd)


def _name(entry: Entry) -> str:
    if not is_plugin_type(entry.network_name) or "/" in entry.container_id + entry.if_name:
        raise NetworkError(f"{quote(entry.network_name)}: no name of a network")
    return f"{entry.network_name}-{entry.container_id}-{entry.if_name}"


def _content(place: int, name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
    with open(fd, "rb") as stream:
        return stream.read(_MAX_FILE + 1)


def _parse(raw: bytes) -> Entry:
    entry = spec.parse(Entry, raw, max_size=_MAX_FILE)
    if entry.kind != _KIND:
        raise SpecError(f"expected the kind {_KIND}, got {quote(entry.kind)}")
    return entry
