"""Platforms: for what an image was built (image-spec image-index.md, ``platform``).

A platform is written ``os/architecture/variant``, or ``os(os.version)/architecture`` for Windows. Names follow Go's
``GOOS`` and ``GOARCH``; the aliases in use (``x86_64``, ``aarch64``, ``armhf`` …) are understood by
:meth:`Platform.normalized` and wherever platforms are compared.

Which variants can run on which, best first:

=============  ==========================================================
wanted         may run
=============  ==========================================================
arm64/v9.1     v9.1, v9, then what v9.1 implies: v8.6, v8.5 … v8
arm64          v8 (the default)
arm/v8         v8, v7 (the default), v6, v5
amd64/v3       v3, v2, v1 (the default)
anything else  the same variant only
=============  ==========================================================
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Self

from ociworks._values import evolve, frozen
from ociworks.errors import InvalidPlatform, quote
from ociworks.spec._model import Model

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Platform", "select"]

_PART: Final = "[A-Za-z0-9][A-Za-z0-9_.-]*"
_GRAMMAR = re.compile(rf"({_PART})(?:\(({_PART})\))?(?:/({_PART}))?(?:/({_PART}))?", re.ASCII)

_OS_ALIASES: Final = {"macos": "darwin", "win32": "windows"}
_KNOWN_OS: Final = frozenset(
    [
        "aix",
        "android",
        "darwin",
        "dragonfly",
        "freebsd",
        "illumos",
        "ios",
        "js",
        "linux",
        "netbsd",
        "openbsd",
        "plan9",
        "solaris",
        "wasip1",
        "windows",
        "zos",
    ]
)
_ARCH_ALIASES: Final = {
    "i386": ("386", None),
    "i486": ("386", None),
    "i586": ("386", None),
    "i686": ("386", None),
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
    "aarch64": ("arm64", None),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv5l": ("arm", "v5"),
    "armv6l": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm", "v8"),
    "loongarch64": ("loong64", None),
    "mips64el": ("mips64le", None),
    "mipsel": ("mipsle", None),
    "powerpc64le": ("ppc64le", None),
}
_KNOWN_ARCH: Final = frozenset(
    [
        "386",
        "amd64",
        "arm",
        "arm64",
        "loong64",
        "mips",
        "mips64",
        "mips64le",
        "mipsle",
        "ppc64",
        "ppc64le",
        "riscv64",
        "s390x",
        "wasm",
    ]
)
_DEFAULT_VARIANT: Final = {"amd64": "v1", "arm64": "v8", "arm": "v7"}
_LOWEST_LEVEL: Final = {"amd64": 1, "arm": 5}
_LEVEL = re.compile(r"v?([0-9]{1,2})(?:\.([0-9]{1,2}))?", re.ASCII)
_ARM64_V8_LEVELS: Final = 9
"""The last minor level of v8; every v9.x implies v8.(x+5)."""


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Platform(
    Model, names={"os_version": "os.version", "os_features": "os.features"}, strict_case=True, nulls=True
):
    """The platform of an image, as written: :meth:`normalized` gives the usual spelling."""

    architecture: str
    """``GOARCH``: amd64, arm64, arm, 386, ppc64le, riscv64, s390x …"""
    os: str
    """``GOOS``: linux, windows, darwin, freebsd …"""
    os_version: str | None = None
    """``os.version``: for Windows, ``10.0.17763.1234``."""
    os_features: tuple[str, ...] = ()
    """``os.features``: what the image needs of the operating system, for Windows ``win32k``."""
    variant: str | None = None
    """The variant of the CPU: ``v7`` for arm, ``v3`` for amd64."""
    features: tuple[str, ...] = ()
    """Reserved by the specification; Docker's manifest lists use it for CPU features."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``os[(os.version)][/architecture[/variant]]``, or an architecture alone.

        What a single word leaves open is taken from the host. Names are kept as written.
        Raises :class:`~ociworks.errors.InvalidPlatform`.
        """
        match = _GRAMMAR.fullmatch(text)
        if match is None:
            raise InvalidPlatform(
                f"expected os/architecture[/variant], such as linux/arm64, got {quote(text)}"
            )
        system, version, architecture, variant = match.groups()
        if architecture is not None:
            return cls(os=system, os_version=version, architecture=architecture, variant=variant)
        return cls._parse_word(system, version)

    @classmethod
    def _parse_word(cls, word: str, version: str | None) -> Self:
        host = cls.host()
        if _normal_os(word) in _KNOWN_OS:
            return cls(os=word, os_version=version, architecture=host.architecture, variant=host.variant)
        if _normal_arch(word, None)[0] in _KNOWN_ARCH and version is None:
            return cls(os=host.os, architecture=word)
        raise InvalidPlatform(f"expected an operating system or an architecture, got {quote(word)}")

    @classmethod
    def host(cls) -> Self:
        """The platform this interpreter's kernel runs; without micro-architecture levels on amd64."""
        import platform
        import sys

        # FreeBSD's name ends in its major version; that of Windows is an alias.
        system = _normal_os(sys.platform if sys.platform == "win32" else sys.platform.rstrip("0123456789"))
        architecture, variant = _normal_arch(platform.machine(), None)
        return cls(os=system, architecture=architecture, variant=variant)

    def __str__(self) -> str:
        system = f"{self.os}({self.os_version})" if self.os_version else self.os
        return "/".join((system, self.architecture, *((self.variant,) if self.variant else ())))

    def normalized(self) -> Self:
        """The usual names, in lower case; default variants of amd64 and arm64 are left out, that of arm is put in."""
        architecture, variant = _normal_arch(self.architecture, self.variant)
        return evolve(self, os=_normal_os(self.os), architecture=architecture, variant=variant)

    def matches(self, offered: Platform) -> bool:
        """Whether an image made for ``offered`` will run where this platform is wanted."""
        return self.rank(offered) is not None

    def rank(self, offered: Platform, *, allow_32bit: bool = False) -> int | None:
        """How well an image for ``offered`` fits where this platform is wanted: 0 is best, None does not run.

        A variant further down costs more; with ``allow_32bit``, 386 on amd64 and arm on arm64 come after all others.
        Features that the offer needs must all be among this platform's. On Windows the first three parts of
        ``os.version`` must be the same when both have one, and an equal fourth part is better.
        """
        want, have = self.normalized(), offered.normalized()
        if want.os != have.os or not set(have.os_features) <= set(want.os_features):
            return None
        version = _version_rank(want, have)
        runs = _runnable(want.architecture, want.variant, allow_32bit=allow_32bit)
        try:
            place = runs.index((have.architecture, have.variant or _DEFAULT_VARIANT.get(have.architecture)))
        except ValueError:
            return None
        return None if version is None else 2 * place + version


def select(wanted: Platform, offered: Iterable[Platform | None], *, allow_32bit: bool = False) -> int | None:
    """The position of the best of ``offered`` for ``wanted``, the first of equals; None when none runs.

    An entry without a platform (None) is never chosen: nothing says that it would run.
    """
    best: tuple[int, int] | None = None
    for place, platform in enumerate(offered):
        rank = None if platform is None else wanted.rank(platform, allow_32bit=allow_32bit)
        if rank is not None and (best is None or rank < best[0]):
            best = rank, place
    return None if best is None else best[1]


def _normal_os(name: str) -> str:
    lower = name.lower()
    return _OS_ALIASES.get(lower, lower)


def _normal_arch(name: str, variant: str | None) -> tuple[str, str | None]:
    """The usual architecture and variant; an alias's own variant yields to an explicit one."""
    lower = name.lower()
    architecture, implied = _ARCH_ALIASES.get(lower, (lower, None))
    chosen = (variant or implied or "").lower() or None
    if architecture not in _DEFAULT_VARIANT:
        return architecture, chosen
    level = _level(chosen)
    chosen = _variant(*level) if level else chosen
    if architecture == "arm":
        return architecture, chosen or "v7"
    return architecture, None if chosen == _DEFAULT_VARIANT[architecture] else chosen


def _level(variant: str | None) -> tuple[int, int] | None:
    match = _LEVEL.fullmatch(variant or "")
    return (int(match[1]), int(match[2] or 0)) if match else None  # trusted: one or two ASCII digits each


def _variant(major: int, minor: int) -> str:
    return f"v{major}.{minor}" if minor else f"v{major}"


def _runnable(architecture: str, variant: str | None, *, allow_32bit: bool) -> list[tuple[str, str | None]]:
    """Architectures with explicit variants that run on this one, best first."""
    own = variant or _DEFAULT_VARIANT.get(architecture)
    runs: list[tuple[str, str | None]] = [(architecture, own)]
    level = _level(own)
    if level and architecture == "arm64":
        runs += [(architecture, _variant(*below)) for below in _arm64_below(*level)]
    elif level and architecture in _LOWEST_LEVEL:
        runs += [
            (architecture, f"v{below}") for below in range(level[0] - 1, _LOWEST_LEVEL[architecture] - 1, -1)
        ]
    if allow_32bit and architecture == "amd64":
        runs.append(("386", None))
    if allow_32bit and architecture == "arm64":
        runs += _runnable("arm", "v8", allow_32bit=False)
    return runs


def _arm64_below(major: int, minor: int) -> list[tuple[int, int]]:
    """The levels that a level implies, as Go's ``GOARM64`` defines them."""
    if major == 8:
        return [(8, below) for below in range(minor - 1, -1, -1)]
    if major == 9:
        implied = min(minor + 5, _ARM64_V8_LEVELS)
        return [(9, below) for below in range(minor - 1, -1, -1)] + [
            (8, below) for below in range(implied, -1, -1)
        ]
    return []


def _version_rank(want: Platform, have: Platform) -> int | None:
    if want.os != "windows" or not want.os_version or not have.os_version:
        return 0
    if want.os_version.split(".")[:3] != have.os_version.split(".")[:3]:
        return None
    return 0 if want.os_version == have.os_version else 1
