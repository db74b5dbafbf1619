"""What is said about an error. Clients look for words of runc's in it, so those are used where there are any."""

from __future__ import annotations

from ociworks import errors

__all__ = ["Said", "failed", "failure", "of"]


class Said(Exception):
    """An error with what is to be said about it."""


class failed:  # noqa: N801 - a block: "with failed(…)"
    """Say of an error in this block what failed."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Exception):
            raise failure(self._what, error) from error


def failure(what: str, error: Exception) -> Said:
    """What is said of an error of a command."""
    return Said(f"ociworks-runtime {what} failed: {of(error)}")


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
