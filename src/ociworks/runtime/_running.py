"""``run``, which every runtime has: what ours and a program with runc's command line share of it."""

from __future__ import annotations

import abc
import contextlib
from typing import TYPE_CHECKING

from ociworks.errors import CommandFailed
from ociworks.runtime._command import with_command
from ociworks.runtime.stdio import PIPE, Stream, Streams

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ociworks.runtime.completed import CompletedContainer
    from ociworks.runtime.options import RunOptions
    from ociworks.spec import Bundle

__all__ = ["Running"]


class Running(abc.ABC):
    """Has ``run``."""

    def run(  # noqa: PLR0913 - the keywords of subprocess.run
        self,
        bundle: Bundle,
        args: Sequence[str] | None = None,
        *,
        capture_output: bool = False,
        input: bytes | None = None,
        timeout: float | None = None,
        check: bool = False,
        env: Mapping[str, str] | None = None,
        stdin: Stream = None,
        options: RunOptions | None = None,
    ) -> CompletedContainer:
        """Run ``args`` (None: the configuration's own) in a new container to its end, and remove the container.

        ``env`` adds variables; ``timeout`` is in seconds. With a terminal, which must be captured, ``stdout`` is all
        that was written to it and ``input`` what is typed.

        Raises what :meth:`create` raises, CommandNotFound, ContainerTimeout (with the output so far) and, with
        ``check``, CommandFailed.
        """
        changed = with_command(bundle, args, env)
        output = PIPE if capture_output else None
        with contextlib.closing(Streams(PIPE if input is not None else stdin, output, output)) as streams:
            done = self._run(changed, streams, input, timeout, options)
        if check and done.returncode:
            raise CommandFailed(done)
        return done

    @abc.abstractmethod
    def _run(
        self,
        bundle: Bundle,
        streams: Streams,
        data: bytes | None,
        timeout: float | None,
        options: RunOptions | None,
    ) -> CompletedContainer:
        """Run the configuration's own command; standard output is captured when ``streams`` have our end of it."""
