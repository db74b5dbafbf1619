"""Containers in pods: what a request asks for, made, and its life until it is forgotten.

- ``containers``: :class:`Containers`: create, start, stop, remove, status, list, update; ``parts``: what that needs
- ``making``: the steps of a creation; ``translate``: a request → a runtime configuration
- ``sources``: what the host has at the paths that are to be mounted; ``volumes``: those that an image declares;
  ``logpath``: where the log goes
- ``restoring``: what one that is restored has of its checkpoint
- ``waiting``: until one has ended; ``exits``: how; ``messages``: what status and lists say
- ``names``: which are allowed; ``scores``: the OOM scores of one that runs
"""

from ociworks.cri.container.containers import Containers
from ociworks.cri.container.parts import Others

__all__ = ["Containers", "Others"]
