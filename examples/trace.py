"""A runtime that says how long each step of a container's life took.

    python -m examples.trace BUNDLE [ARGUMENT...]      runs the bundle's program once, step by step

It listens to events and keeps the time since the event before; a host step marks the moment at which the first process
has its namespaces, and another one that at which it has its mounts.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from ociworks import spec
from ociworks.runtime import Event, HostStep, Runtime, Subject


class TracingRuntime(Runtime):
    """Writes a line per step: milliseconds since the step before, the container, what happened."""

    def __init__(self, root: str | Path | None = None, output: TextIO = sys.stderr) -> None:
        super().__init__(root)
        self.output = output
        self.last: dict[str, int] = {}

    def on_event(self, event: Event) -> None:
        """One line; an end forgets the container."""
        code = "" if event.returncode is None else f" {event.returncode}"
        self.line(event.container_id, event.time, f"{event.kind}{code}")
        if event.kind == "deleted":
            self.last.pop(event.container_id, None)

    def host_steps(self, subject: Subject) -> Sequence[HostStep]:
        """Two steps that do nothing but look at the clock."""
        return (
            HostStep(name="namespaces", at="cloned", do=lambda container: self.mark(container, "namespaces")),
            HostStep(name="mounts", at="mounted", do=lambda container: self.mark(container, "mounts")),
        )

    def mark(self, container: Subject, what: str) -> None:
        """A line for now; an Event says what time it is."""
        self.line(container.container_id, Event(kind="spawned", container_id="").time, what)

    def line(self, container_id: str, now: int, what: str) -> None:
        """Write one."""
        before = self.last.get(container_id, now)
        self.last[container_id] = now
        print(f"{(now - before) / 1e6:9.3f} ms  {container_id}  {what}", file=self.output)


def main(directory: str, *args: str) -> int:
    """Run the program; its status."""
    with TracingRuntime() as runtime:
        container = runtime.create("traced", spec.Bundle.load(directory), args or None)
        with container:
            container.start()
            return container.wait()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
