"""A container of the interface → a runtime configuration. One file for each concern; none of them needs root.

- ``request``: everything that decides it; ``assemble``: all concerns together
- ``identity``: users and groups; ``rights``: capabilities; ``filters``: seccomp; ``labels``: AppArmor and SELinux,
  ``profile``: what both kinds of profile have in common
- ``namespaces``, ``limits``, ``mounts``, ``devices``, ``cdi``, ``annotations``, ``signals``
"""

from ociworks.cri.container.translate.assemble import Translated, translate
from ociworks.cri.container.translate.request import PodFiles, Request, Source

__all__ = ["PodFiles", "Request", "Source", "Translated", "translate"]
