"""The system call filter (CR-10).

========================================  ==============================================================
request                                   filter
========================================  ==============================================================
privileged                                none, whatever else is said
no profile at all                         none: the interface has no other word for it; a kubelet always says
RuntimeDefault                            :func:`ociworks.spec.defaults_seccomp.default_seccomp`
Unconfined                                none
Localhost                                 the file named by its absolute path below ``seccomp_profile_root``
``seccomp_profile_path`` (deprecated)     ``runtime/default``, ``docker/default``, ``unconfined``, ``localhost/PATH``
both, and different                       an error
========================================  ==============================================================
"""

from __future__ import annotations

import functools
import os
from typing import Final

from ociworks._linux.path import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2
from ociworks.cri.container.translate.profile import Profile, chosen_profile
from ociworks.cri.container.translate.request import Request
from ociworks.errors import InvalidRequest, SpecError, quote
from ociworks.spec import parse, validate
from ociworks.spec.defaults import default_seccomp_profile
from ociworks.spec.runtime import Seccomp

__all__ = ["seccomp"]

_MAX_FILE: Final = 1 << 20
_BENEATH: Final = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_OLD: Final = {
    "runtime/default": Profile(kind="default"),
    "docker/default": Profile(kind="default"),
    "unconfined": Profile(kind="unconfined"),
}


def seccomp(request: Request, bounding: tuple[str, ...]) -> Seccomp | None:
    """The table above. InvalidRequest for anything that is not in it, and for files that are no profile."""
    security = request.security
    given = security.seccomp if security.HasField("seccomp") else None
    profile = chosen_profile("seccomp", given, security.seccomp_profile_path, _OLD)
    found: Seccomp | None = None
    if profile.kind == "localhost":
        found = _localhost(profile.name, request.server.seccomp_profile_root)
    elif profile.kind == "default":
        found = _default(bounding)
    return None if request.privileged else found


@functools.lru_cache(maxsize=32)
def _default(bounding: tuple[str, ...]) -> Seccomp | None:
    """The same object for the same capabilities, so that it is compiled once."""
    return default_seccomp_profile(bounding)


def _localhost(name: str, root: str) -> Seccomp:
    inner = _below(name, root)
    try:
        place = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with open(openat2(place, inner, _READ, resolve=_BENEATH), "rb") as file:
                raw = file.read(_MAX_FILE + 1)
        finally:
            os.close(place)
    except OSError as error:
        raise InvalidRequest(f"seccomp: profile {quote(name)}: {error.strerror}") from error
    if len(raw) > _MAX_FILE:
        raise InvalidRequest(f"seccomp: profile {quote(name)}: expected at most {_MAX_FILE} bytes")
    try:
        return _parsed(raw)
    except SpecError as error:
        raise InvalidRequest(f"seccomp: profile {quote(name)}: {error}") from error


def _below(name: str, root: str) -> str:
    """The path inside the directory of profiles; the kernel holds it there."""
    if not name:
        raise InvalidRequest("seccomp: localhost_ref: expected the path of a profile, got none")
    if not name.startswith("/"):
        return name
    if not name.startswith(root.rstrip("/") + "/"):
        raise InvalidRequest(f"seccomp: localhost_ref: expected a path below {root}, got {quote(name)}")
    return name[len(root.rstrip("/")) :].lstrip("/")


@functools.lru_cache(maxsize=32)
def _parsed(raw: bytes) -> Seccomp:
    """The same object for the same bytes, so that it is compiled once."""
    found = parse(Seccomp, raw)
    problems = validate(found)
    if problems:
        raise SpecError(f"{problems[0].path}: {problems[0].message}")
    return found
