"""Rules for the configuration as a whole: what depends on the platform, and on two sections at once."""

from __future__ import annotations

from ociworks.errors import Problem, quote
from ociworks.spec.validate._checks import check_absolute, check_annotations, check_choice, check_version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from ociworks.spec.runtime import Process, Root, Spec, Windows

__all__ = ["RULES"]

_LINUX_RLIMITS: Final = frozenset(
    "RLIMIT_AS RLIMIT_CORE RLIMIT_CPU RLIMIT_DATA RLIMIT_FSIZE RLIMIT_LOCKS RLIMIT_MEMLOCK RLIMIT_MSGQUEUE "
    "RLIMIT_NICE RLIMIT_NOFILE RLIMIT_NPROC RLIMIT_RSS RLIMIT_RTPRIO RLIMIT_RTTIME RLIMIT_SIGPENDING "
    "RLIMIT_STACK".split()
)


def _spec(value: Spec, at: str) -> Iterator[Problem]:
    """Version, root, and everything whose rule depends on the platform."""
    yield from check_version(
        value.oci_version, f"{at}.ociVersion", "runtime-spec config.md, Specification version"
    )
    yield from check_annotations(
        value.annotations, f"{at}.annotations", "runtime-spec config.md, Annotations"
    )
    if value.windows is not None:
        yield from _windows(value, value.windows, at)
        return
    if value.root is None:
        yield Problem(f"{at}.root", "is required on this platform", "runtime-spec config.md, Root")
    if value.process is not None:
        yield from _posix_process(value.process, f"{at}.process")
    if _is_linux(value):
        yield from _linux(value, at)
    else:
        for index, mount in enumerate(value.mounts):
            where = f"{at}.mounts[{index}].destination"
            yield from check_absolute(mount.destination, where, "runtime-spec config.md, Mounts")


def _is_linux(value: Spec) -> bool:
    others = (value.windows, value.solaris, value.freebsd, value.zos)
    return value.linux is not None or all(other is None for other in others)


def _posix_process(process: Process, at: str) -> Iterator[Problem]:
    section = "runtime-spec config.md, Process"
    yield from check_absolute(process.cwd, f"{at}.cwd", section)
    if not process.args and process.command_line is not None:
        yield Problem(f"{at}.args", "expected at least one entry; commandLine is for Windows", section)


def _linux(value: Spec, at: str) -> Iterator[Problem]:
    kinds = {namespace.type for namespace in value.linux.namespaces} if value.linux else set()
    for name, text in (("hostname", value.hostname), ("domainname", value.domainname)):
        if text and "uts" not in kinds:
            section = f"runtime-spec config.md, {name.capitalize()}"
            yield Problem(f"{at}.{name}", "is set but there is no private UTS namespace", section)
    if value.process is not None:
        section = "runtime-spec config.md, POSIX process"
        for index, limit in enumerate(value.process.rlimits):
            yield from check_choice(
                limit.type, _LINUX_RLIMITS, f"{at}.process.rlimits[{index}].type", section
            )
    for index, mount in enumerate(value.mounts):
        mapped = mount.uid_mappings or mount.gid_mappings or "user" in kinds
        if not mapped and {"idmap", "ridmap"} & set(mount.options):
            message = "idmap needs uidMappings and gidMappings, or a user namespace"
            yield Problem(
                f"{at}.mounts[{index}].options", message, "runtime-spec config.md, Linux mount options"
            )


def _windows(value: Spec, windows: Windows, at: str) -> Iterator[Problem]:
    section = "runtime-spec config.md, Root"
    if windows.hyperv is None and value.root is None:
        yield Problem(f"{at}.root", "is required for Windows Server containers", section)
    if windows.hyperv is not None and value.root is not None:
        yield Problem(f"{at}.root", "must not be set for Hyper-V containers", section)
    if value.root is not None and value.root.readonly:
        yield Problem(f"{at}.root.readonly", "must be false on Windows", section)
    for index, mount in enumerate(value.mounts):
        if not _is_absolute_on_windows(mount.destination):
            where = f"{at}.mounts[{index}].destination"
            message = f"expected an absolute path, got {quote(mount.destination)}"
            yield Problem(where, message, "runtime-spec config.md, Mounts")
    if value.process is not None and not _is_absolute_on_windows(value.process.cwd):
        message = f"expected an absolute path, got {quote(value.process.cwd)}"
        yield Problem(f"{at}.process.cwd", message, "runtime-spec config.md, Process")


def _is_absolute_on_windows(path: str) -> bool:
    return path[:1] in {"\\", "/"} or (
        path[:1].isascii() and path[:1].isalpha() and path[1:2] == ":" and path[2:3] in {"\\", "/"}
    )


def _root(value: Root, at: str) -> Iterator[Problem]:
    """The path is there."""
    if not value.path:
        yield Problem(f"{at}.path", "must not be empty", "runtime-spec config.md, Root")


RULES: Final = {"Root": _root, "Spec": _spec}
