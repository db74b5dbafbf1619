"""ImageService: functions of a node and a request, thin.

- ``images``: all six
"""

from __future__ import annotations

from ociworks.cri.image_service import images

__all__ = ["GROUPS"]

GROUPS = (images,)
"""The modules; each RPC is a function of one of them, by its name in words joined by underscores."""
