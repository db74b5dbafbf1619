"""The small process that a detached container has for a parent: it reaps, logs, relays, and outlives the caller.

A shim is a fork of the launcher, so this package is imported by it and keeps its rules (``_init.ALLOWED_IMPORTS``):
nothing heavy, nothing after the start. What callers use is beside it: ``detach`` (options and results), ``attach``,
``logs``.

- ``messages``: what goes over a shim's socket, drawn as a table
- ``records``: output cut into log records, as CRI and as JSON lines
- ``logfile``: the file they go to: sizes, rotation, reopening, and a disk that fails
- ``claim``: the state directory and what else exists because of the container
- ``aside``: the names of directories that are not complete
- ``debris``: what is left of directories that were never complete
- ``loop``: descriptors and who looks after them
- ``output``: one stream of the container's, read as fast as it comes
- ``input``: the container's standard input, bounded
- ``clients``: connections: who asks, who is attached, who is too slow
- ``exits``: the exit status on disk
- ``adopting``: waits for a program that makes a container, and adopts that
- ``foreign``: the same for a container that another program makes
- ``restored``: the same for a container that criu restores
- ``supervise``: one container from its creation to its end
"""

from __future__ import annotations

__all__ = ()
