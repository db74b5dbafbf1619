"""At the start of a server: what is recorded and what is there are brought together, before anybody asks.

=====================================  ================================================================================
found                                  what becomes of it
=====================================  ================================================================================
a pod or container in the making       undone; its record goes
one that was being removed             removed to the end
a container that was alive             watched; if it has ended meanwhile, its shim's word is recorded, or that nobody
                                       knows
a pod without its namespaces           not ready: the machine was started anew
something that no record knows         removed, if it is ours: it lies in our directories and has an ID for a name
an entry that cannot be believed       set aside in ``<state>/quarantine``, or left alone, and reported
=====================================  ================================================================================

Each stands for itself: what goes wrong with one is reported, and the others are recovered (SV-05).

- ``whole``: recover, all of it in order; ``parallel``: several records at a time; ``report``: what came of it
- ``pods``, ``containers``: those that are recorded
- ``leftovers``: what no record knows; ``quarantine``: what cannot be believed
"""

from __future__ import annotations

from ociworks.cri.recovery.report import Report
from ociworks.cri.recovery.whole import recover

__all__ = ["Report", "recover"]
