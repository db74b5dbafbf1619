"""How to checkpoint and restore: the options of runc's verbs, for criu (``runtime._criu``) and for other runtimes."""

from __future__ import annotations

from typing import Final, Literal

from attrs import fields, frozen

from ociworks.errors import NotSupported

__all__ = ["CgroupsMode", "CheckpointOptions", "RestoreOptions", "flags"]

_OURS: Final = ("config_file", "paused", "untrusted", "timeout")
"""What no runtime has a flag for."""

CgroupsMode = Literal["soft", "full", "strict", "ignore"]
"""What criu does with control groups (criu(8), --manage-cgroups)."""


@frozen(kw_only=True)
class CheckpointOptions:
    """How to checkpoint; the names are those of runc's flags."""

    image_path: str
    """The directory for the images; made when it is missing, mode 0700."""
    work_path: str = ""
    """The directory for criu's log and other files; ``image_path`` without it."""
    parent_path: str = ""
    """The images of an earlier pre-dump, relative to ``image_path``."""
    leave_running: bool = False
    tcp_established: bool = False
    ext_unix_sk: bool = False
    shell_job: bool = False
    file_locks: bool = False
    pre_dump: bool = False
    """Only the memory; the container goes on."""
    lazy_pages: bool = False
    auto_dedup: bool = False
    tcp_skip_in_flight: bool = False
    """Leave connections out that are not accepted yet."""
    link_remap: bool = False
    """Let criu give files a name again that have none any more, where it can."""
    manage_cgroups_mode: CgroupsMode = "soft"
    empty_ns: tuple[str, ...] = ()
    """Namespaces (``network``) whose properties are left out."""
    status_fd: int = -1
    """A descriptor to which criu writes a zero byte when lazy pages can be asked for."""
    page_server: str = ""
    """``address:port`` of a page server."""
    config_file: str = ""
    """A file with settings of criu's own that go before these (criu(8), configuration files), if it is there; it can
    have criu execute anything. No flag of runc's, but the annotation ``org.criu.config``, which the command heeds."""
    timeout: float | None = None
    """Seconds that it may take, after which criu is ended, and the container goes on if it still can; None: as long as
    it takes. No flag of runc's."""


@frozen(kw_only=True)
class RestoreOptions:
    """How to restore; the names are those of runc's flags."""

    image_path: str
    work_path: str = ""
    tcp_established: bool = False
    ext_unix_sk: bool = False
    shell_job: bool = False
    file_locks: bool = False
    lazy_pages: bool = False
    auto_dedup: bool = False
    manage_cgroups_mode: CgroupsMode = "soft"
    empty_ns: tuple[str, ...] = ()
    lsm_profile: str = ""
    """``TYPE:NAME`` of another security profile than the one at the checkpoint."""
    lsm_mount_context: str = ""
    """Another SELinux context for the mounts."""
    config_file: str = ""
    """As at the checkpoint."""
    paused: bool = False
    """Leave it paused: nothing in it runs before it is resumed. Needs a unified hierarchy; no flag of runc's."""
    untrusted: bool = False
    """Somebody else may have written the images: what they make must keep within the configuration (namespaces, rights,
    mounts), or it is ended before it runs. No flag of runc's."""
    timeout: float | None = None
    """Seconds that it may take, after which everything is undone; None: as long as it takes. No flag of runc's."""


def flags(options: CheckpointOptions | RestoreOptions) -> tuple[str, ...]:
    """The options as flags of runc's verbs. NotSupported for those that it has not."""
    found: list[str] = []
    for item in fields(type(options)):
        value = getattr(options, item.name)
        name = f"--{item.name.replace('_', '-')}"
        if item.name in _OURS:
            if value and item.name != "timeout":  # that is for whoever runs the program
                raise NotSupported(f"{item.name}: another runtime's program has no such option")
            continue
        if item.name == "empty_ns":
            for each in options.empty_ns:
                found += [name, each]
        elif value is True:
            found.append(name)
        elif value is not False and value not in ("", -1):  # 0 is a descriptor
            found += [name, str(value)]
    return tuple(found)
