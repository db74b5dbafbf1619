"""What a recovery came to, and how it goes on after something went wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import define, field
from google.protobuf.message import DecodeError

from ociworks.errors import OciworksError, quote

__all__ = ["Report"]

logger = logging.getLogger(__name__)


@define(kw_only=True)
class Report:
    """What was found at the start; each line names a pod, a container or a file."""

    undone: list[str] = field(factory=list)
    """Creations that were cut short."""
    finished: list[str] = field(factory=list)
    """Removals that were."""
    not_ready: list[str] = field(factory=list)
    """Pods that lost their namespaces."""
    removed: list[str] = field(factory=list)
    """What no record knew."""
    failed: list[str] = field(factory=list)
    """What could not be believed or brought in order, and why."""

    @contextmanager
    def each(self, what: str) -> Iterator[None]:
        """Something that concerns one thing only: when it fails, that is reported, and the rest goes on."""
        try:
            yield
        except DecodeError:
            self.fail(f"{what}: its record is damaged")
        except (OciworksError, OSError) as error:
            self.fail(f"{what}: {error}")

    def fail(self, line: str) -> None:
        """Note what could not be brought in order."""
        logger.warning("recovery: %s", line)
        self.failed.append(line)

    def note(self, lines: list[str], what: str) -> None:
        """Note something that was done."""
        logger.info("recovery: %s", quote(what))
        lines.append(what)
