"""Mount options: attributes, propagation, or for the file system (runtime-spec config.md, Linux mount options).

What a bind's options come to is what runc makes of them, which is what mount(8) was meant to do: without any option
about attributes the mount keeps those of its source; with one it gets exactly those that are asked for, except that an
access-time mode stays until another one is named. In a user namespace the kernel locks what a source mount has; there
what is asked for is added, and asking to take away what is locked fails.

A bind takes the mode and size that some generators give every mount, as mount(2) does, and they change nothing: its
file system is there already. Any other option that is not the mount's is refused there (RT-19).
"""

from __future__ import annotations

from ociworks._linux import numbers as kernel
from ociworks._values import frozen
from ociworks.errors import NotSupported, quote
from ociworks.runtime._same import kept

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ociworks.runtime.plan.ops import Attributes, Options

__all__ = ["KNOWN_OPTIONS", "PROPAGATION", "MountOptions", "parse_options"]

# name → whether it sets or clears, and which attribute
_FLAGS: Final[dict[str, tuple[bool, int]]] = {
    "ro": (True, kernel.ATTR_RDONLY),
    "rw": (False, kernel.ATTR_RDONLY),
    "nosuid": (True, kernel.ATTR_NOSUID),
    "suid": (False, kernel.ATTR_NOSUID),
    "nodev": (True, kernel.ATTR_NODEV),
    "dev": (False, kernel.ATTR_NODEV),
    "noexec": (True, kernel.ATTR_NOEXEC),
    "exec": (False, kernel.ATTR_NOEXEC),
    "nosymfollow": (True, kernel.ATTR_NOSYMFOLLOW),
    "symfollow": (False, kernel.ATTR_NOSYMFOLLOW),
}
_ALL_FLAGS: Final = (
    kernel.ATTR_RDONLY | kernel.ATTR_NOSUID | kernel.ATTR_NODEV | kernel.ATTR_NOEXEC | kernel.ATTR_NOSYMFOLLOW
)
_ACCESS_TIME: Final = {
    "noatime": (True, "noatime"),
    "atime": (False, "noatime"),
    "nodiratime": (True, "nodiratime"),
    "diratime": (False, "nodiratime"),
    "relatime": (True, "relatime"),
    "norelatime": (False, "relatime"),
    "strictatime": (True, "strictatime"),
    "nostrictatime": (False, "strictatime"),
}
"""Four switches, as mount(2) has them: relatime is the mode when none of the others is on."""

_BELOW: Final[dict[str, tuple[int, int]]] = {
    **{f"r{name}": (bit, 0) if on else (0, bit) for name, (on, bit) in _FLAGS.items()},
    "rnodiratime": (kernel.ATTR_NODIRATIME, 0),
    "rdiratime": (0, kernel.ATTR_NODIRATIME),
    "rrelatime": (kernel.ATTR_RELATIME, kernel.ATTR_ATIME),
    "rnorelatime": (kernel.ATTR_STRICTATIME, kernel.ATTR_ATIME),
    "rnoatime": (kernel.ATTR_NOATIME, kernel.ATTR_ATIME),
    "ratime": (kernel.ATTR_RELATIME, kernel.ATTR_ATIME),
    "rstrictatime": (kernel.ATTR_STRICTATIME, kernel.ATTR_ATIME),
    "rnostrictatime": (kernel.ATTR_RELATIME, kernel.ATTR_ATIME),
}
"""Recursive attributes: bits to set and bits to clear, on the mount and on all below it."""

RECURSIVE: Final = 1
PROPAGATION: Final[dict[str, int]] = {
    "shared": kernel.MS_SHARED,
    "rshared": kernel.MS_SHARED | RECURSIVE,
    "slave": kernel.MS_SLAVE,
    "rslave": kernel.MS_SLAVE | RECURSIVE,
    "private": kernel.MS_PRIVATE,
    "rprivate": kernel.MS_PRIVATE | RECURSIVE,
    "unbindable": kernel.MS_UNBINDABLE,
    "runbindable": kernel.MS_UNBINDABLE | RECURSIVE,
}
"""Propagation types by name; bit 0 means recursive."""

_SUPERBLOCK: Final = {
    "sync": ("sync", True),
    "async": ("sync", False),
    "dirsync": ("dirsync", True),
    "lazytime": ("lazytime", True),
    "nolazytime": ("lazytime", False),
    "mand": ("mand", True),
    "nomand": ("mand", False),
    "iversion": ("iversion", True),
    "noiversion": ("iversion", False),
}
"""Switches of the whole file system, which a bind cannot have."""
_IGNORED: Final = frozenset({"defaults", "silent", "loud"})
_FOR_ANY_MOUNT: Final = "mode=[0-7]{1,4}|size=[0-9]{1,19}[kmgKMG%]?"
"""Settings that a bind takes too, where they change nothing."""
_OURS: Final = ("bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap", "src-nofollow")

KNOWN_OPTIONS: Final = tuple(
    sorted({*_FLAGS, *_ACCESS_TIME, *_BELOW, *PROPAGATION, *_SUPERBLOCK, *_IGNORED, *_OURS})
)
"""Every option that is not left to the file system."""


@frozen(kw_only=True)
class MountOptions:
    """The options of one mount, sorted by what they act on."""

    bind: bool = False
    recursive: bool = False
    """Whether a bind takes what is mounted below its source too (``rbind``)."""
    set_: int = 0
    clear: int = 0
    """The attributes that are asked for, and those that are asked not to be; without access times."""
    access_time: int | None = None
    """The access-time mode and ``nodiratime`` as attributes; None when nothing asks for one."""
    below: tuple[int, int] = (0, 0)
    """Attributes to set and to clear on the mount and on all below it."""
    propagation: tuple[int, ...] = ()
    """Applied one after the other."""
    data: Options = ()
    copy_up: bool = False
    """Whether a tmpfs starts with what the directory has that it covers (``tmpcopyup``)."""
    idmap: str = ""
    """``idmap`` or ``ridmap``."""
    follow: bool = True
    """Whether a bind's source may lead through links; not with ``src-nofollow``."""

    @property
    def filesystem_attributes(self) -> int:
        """The attributes of a new file system's mount."""
        return self.set_ | (self.access_time or 0) | self.below[0]

    @property
    def bind_attributes(self) -> Attributes:
        """What changes the attributes of a bind; see the module's text."""
        below = self.below
        if not self.set_ and not self.clear and self.access_time is None:
            return (0, 0, 0, 0, *below)
        mode = (0, 0)
        if self.access_time is not None:
            mode = (self.access_time, kernel.ATTR_ATIME | kernel.ATTR_NODIRATIME & ~self.access_time)
        exact = (self.set_ | mode[0], _ALL_FLAGS & ~self.set_ | mode[1])
        clear = self.clear | kernel.ATTR_NOSYMFOLLOW & ~self.set_
        return (*exact, self.set_ | mode[0], clear | mode[1], *below)


class _Sorter:
    """Sorts options one by one; later ones win over earlier ones."""

    def __init__(self) -> None:
        self.words: set[str] = set()
        self.set_ = self.clear = 0
        self.times: set[str] = set()
        self.below = (0, 0)
        self.propagation: list[int] = []
        self.superblock: dict[str, bool] = {}
        self.data: list[tuple[str, str | None]] = []

    def add(self, option: str) -> None:
        """One option."""
        if option in _FLAGS:
            on, bit = _FLAGS[option]
            self.set_ = self.set_ | bit if on else self.set_ & ~bit
            self.clear = self.clear & ~bit if on else self.clear | bit
        elif option in _ACCESS_TIME:
            on, switch = _ACCESS_TIME[option]
            (self.times.add if on else self.times.discard)(switch)
        elif option in _BELOW:
            set_, clear = _BELOW[option]
            self.below = (self.below[0] & ~clear | set_, self.below[1] & ~set_ | clear)
        elif option in PROPAGATION:
            self.propagation.append(PROPAGATION[option])
        elif option in _SUPERBLOCK:
            name, on = _SUPERBLOCK[option]
            self.superblock[name] = on
        elif option in _OURS:
            self.words.add(option)
        elif option not in _IGNORED:
            key, equals, value = option.partition("=")
            self.data.append((key, value if equals else None))

    @property
    def access_time(self) -> int | None:
        """What mount(2) makes of the four switches."""
        if not self.times:
            return None
        directories = kernel.ATTR_NODIRATIME if "nodiratime" in self.times else 0
        if "strictatime" in self.times:
            return kernel.ATTR_STRICTATIME | directories
        return (kernel.ATTR_NOATIME if "noatime" in self.times else kernel.ATTR_RELATIME) | directories


@kept(256)
def parse_options(options: tuple[str, ...], where: str, *, bind: bool = False) -> MountOptions:
    """Sort options; later ones win. ``bind`` says that the type does already. NotSupported for what makes no sense.

    What is left goes to the file system, key by key; a bind makes none, so there an unknown option is an error.
    """
    sorter = _Sorter()
    for option in options:
        sorter.add(option)
    words = sorter.words
    bind = bind or bool(words & {"bind", "rbind"})
    data = (*sorter.data, *((name, None) for name, on in sorter.superblock.items() if on))
    if bind and data:
        data = _for_any_mount(data, where)
    if bind and "tmpcopyup" in words:
        raise NotSupported(f"{where}: option tmpcopyup is for a tmpfs")
    for word in sorted(words & {"remount", "idmap", "ridmap", "src-nofollow"}):
        if not bind:
            raise NotSupported(f"{where}: option {word} is for bind mounts")
    return MountOptions(
        bind=bind,
        recursive="rbind" in words,
        set_=sorter.set_,
        clear=sorter.clear,
        access_time=sorter.access_time,
        below=sorter.below,
        propagation=tuple(sorter.propagation),
        data=data,
        copy_up="tmpcopyup" in words,
        idmap=next((word for word in ("ridmap", "idmap") if word in words), ""),
        follow="src-nofollow" not in words,
    )


def _for_any_mount(data: Options, where: str) -> Options:
    """Nothing of a file system's options is left for a bind; NotSupported for what would have to be in force."""
    import re

    for name, setting in data:
        if not re.fullmatch(_FOR_ANY_MOUNT, f"{name}={setting}"):
            raise NotSupported(f"{where}: a bind mount knows no option {quote(name)}")
    return ()
