"""Other people's runtimes, driven through the same calls as ours: runc, crun, runsc, kata-runtime, ociworks-runtime.

``runtime`` (RuntimeBinary) and ``container`` (BinaryContainer) are its face; ``command`` runs the program and turns
its failures into errors, ``held`` has shims hold containers that outlive us, ``stats`` reads what ``events --stats``
prints.
"""

from __future__ import annotations

from ociworks.runtime.binary.command import BinaryOptions
from ociworks.runtime.binary.container import BinaryContainer
from ociworks.runtime.binary.runtime import RuntimeBinary

__all__ = ["BinaryContainer", "BinaryOptions", "RuntimeBinary"]
