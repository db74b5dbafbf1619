"""What is said about an error. Clients look for words of runc's in it, so those are used where there are any."""

from __future__ import annotations

from ociworks import errors

__all__ = ["Said", "failed", "failure", "of"]

_PLACES = {
    "$.linux.memoryPolicy.mode": "invalid memory policy mode: ",
    "$.linux.memoryPolicy.flags": "invalid memory policy flag: ",
    "$.linux.memoryPolicy.nodes": "invalid memory policy node: ",
    "cgroup": "bad sub cgroup path: ",
}
"""What is said first of a problem, by where it is."""


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
    if isinstance(error, errors.InvalidSpec):
        return _place(error) + _line(error)
    if isinstance(error, Said | errors.OciworksError | ValueError | LookupError):
        return _line(error)
    if isinstance(error, OSError):
        name = error.filename if isinstance(error.filename, str) else ""
        said = (error.strerror or str(error)).lower()
        return f"{name}: {said}" if name else said
    return f"{type(error).__name__}: {error}"


def _line(error: Exception) -> str:
    return "; ".join(line.strip() for line in str(error).split("\n"))


def _place(error: errors.InvalidSpec) -> str:
    places = (problem.path.partition("[")[0] for problem in error.problems)
    return next((_PLACES[place] for place in places if place in _PLACES), "")
