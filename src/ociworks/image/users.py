"""Users of an image: ``user[:group]`` to numbers, by the image's own database; see :mod:`ociworks.spec.users`."""

from __future__ import annotations

from ociworks.spec.users import GroupPolicy, ResolvedUser, lookup_user, resolve_user

__all__ = ["GroupPolicy", "ResolvedUser", "lookup_user", "resolve_user"]
