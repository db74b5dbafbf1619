"""What containers and pods use: statistics for the kubelet, and metrics as cAdvisor names them.

::

    records ──> which run (subjects) ──> control groups, /proc, pinned network namespaces ──> values ──> messages

Nothing runs between two calls: each reads the kernel's files then, and what is dear to count (what a container has
written, its open files) is counted again only after a while (``aged``).

- ``stats``: Stats, what the servicer calls
- ``subjects``: which containers and pods there are to count, and in which control groups
- ``network``: the counters of interfaces in pods; ``processes``: open files, sockets, limits; ``disk``: writable layers
- ``rates``: how many processors something keeps busy; ``aged``: values that may be a little old
- ``reader``: reads all those; ``usage``: counters → messages of statistics
- ``metrics``: all metrics in one pass; ``descriptors``: which there are; ``samples``: counters → values; ``sheets``:
  values → messages
"""

from __future__ import annotations

from ociworks.cri.stats.stats import Layers, Runtimes, Stats

__all__ = ["Layers", "Runtimes", "Stats"]
