"""Pods: namespaces, files and a control group for containers to share.

===============  ==============================================================================================
``sandboxes``    :class:`Sandboxes`: run, stop, remove, status, list, update; the order in which things happen
``request``      :func:`checked`: everything a request says, judged before anything is made
``names``        metadata; ``options``: namespaces, user maps, profiles; ``sysctls``; ``resolver``
``namespaces``   makes and pins namespaces, without a process that holds them
``users``        the same with a user namespace, by a helper
``pause``        the exception: one tiny process holds a process namespace that containers share; ``program`` is its
``files``        hosts, hostname, resolv.conf and shared memory
``logs``         the directory for logs; ``groups``: the control group; ``slices``: with systemd
``messages``     what status and lists say
``parts``        what is needed of other parts of a node
===============  ==============================================================================================
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.cri.sandbox.files import PodFiles
    from ociworks.cri.sandbox.sandboxes import Sandboxes

__all__ = ["PodFiles", "Sandboxes"]

_HOMES = {"PodFiles": "ociworks.cri.sandbox.files", "Sandboxes": "ociworks.cri.sandbox.sandboxes"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
