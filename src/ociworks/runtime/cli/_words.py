"""What is said about an error. Clients look for words of runc's in it, so those are used where there are any."""

from __future__ import annotations

import contextlib

from ociworks import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Said", "failed", "of"]


class Said(Exception):
    """An error with what is to be said about it."""


@contextlib.contextmanager
def failed(what: str) -> Iterator[None]:
    """Say of an error in this block what failed."""
    try:
        yield
    except Exception as error:
        raise Said(f"ociworks-runtime {what} failed: {of(error)}") from error


def of(error: Exception) -> str:
    """One line about an error."""
    if isinstance(error, errors.ContainerNotFound):
        return "container does not exist"
    if isinstance(error, errors.ContainerExists):
        return "container with given ID already exists"
    if isinstance(error, Said | errors.OciworksError | ValueError | LookupError):
        return "; ".join(line.strip() for line in str(error).split("\n"))
    if isinstance(error, OSError):
        name = error.filename if isinstance(error.filename, str) else ""
        said = (error.strerror or str(error)).lower()
        return f"{name}: {said}" if name else said
    return f"{type(error).__name__}: {error}"
