"""Containers in pods: what a request asks for, made, and its life until it is forgotten.

- ``translate``: a request → a runtime configuration
- ``sources``: what the host has at the paths that are to be mounted
"""

from ociworks.cri.container import translate

__all__ = ["translate"]
