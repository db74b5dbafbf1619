"""``--version``: lines that start as clients expect them."""

from __future__ import annotations

import sys

__all__ = ["show"]


def show() -> int:
    """Print the versions; the exit status."""
    from ociworks import __version__
    from ociworks.spec.runtime.config import VERSION

    python = ".".join(str(part) for part in sys.version_info[:3])
    sys.stdout.write(
        f"ociworks-runtime version {__version__}\nspec: {VERSION}\npython: {python}\n{_libseccomp()}"
    )
    return 0


def _libseccomp() -> str:
    try:
        from pyseccomp import get_api  # type: ignore[import-untyped]
    except (ImportError, OSError, RuntimeError):
        return ""
    return f"libseccomp: api {get_api()}\n"
