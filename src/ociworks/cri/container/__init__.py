"""Containers in pods: what a request asks for, made, and its life until it is forgotten.

- ``translate``: a request → a runtime configuration
- ``sources``: what the host has at the paths that are to be mounted; ``volumes``: those that an image declares
- ``logpath``: where its log goes
"""

from __future__ import annotations

__all__: list[str] = []
