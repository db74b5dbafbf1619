"""The process of an ``exec``: from a file, or the container's own with what the flags change (CL-05)."""

from __future__ import annotations

from typing import Final

import attrs

from ociworks.errors import SpecError, quote
from ociworks.runtime import Container
from ociworks.runtime.cli import _files
from ociworks.runtime.cli._call import Call
from ociworks.runtime.cli._granted import granted_process
from ociworks.spec import parse
from ociworks.spec.numbers import parse_uint
from ociworks.spec.runtime import Capabilities, Process, User

__all__ = ["process_of", "sub_groups", "user_of"]

_MAX_ID: Final = (1 << 32) - 2
"""The number after it means "no change" to the kernel."""
_CHANGES: Final = (
    "cwd", "env", "user", "additional-gids", "process-label", "apparmor", "no-new-privs", "cap",
)  # fmt: skip


def process_of(call: Call, container: Container) -> Process:
    """The process to run. Raises SpecError for flags that mean nothing, or contradict a file."""
    return granted_process(_asked(call, container), call.log.caution)


def _asked(call: Call, container: Container) -> Process:
    flags, command = call.flags, tuple(call.arguments[1:])
    path = flags.text("process")
    if not path:
        if not command:
            raise ValueError("process args cannot be empty")
        return _changed(call, container, command)
    conflicts = [name for name in _CHANGES if flags.given(name)]
    if command or conflicts:
        what = "a command" if command else f"--{conflicts[0]}"
        raise ValueError(f"--process is the whole process: it does not go together with {what}")
    process = parse(Process, _files.read_document(path), max_size=_files.MAX_DOCUMENT)
    if flags.flag("tty") and not process.terminal:
        process = attrs.evolve(process, terminal=True)
    return process


def _changed(call: Call, container: Container, command: tuple[str, ...]) -> Process:
    flags, own = call.flags, container.spec.process
    if own is None:
        raise ValueError("the container has no process to take the settings from")
    process = attrs.evolve(
        own,
        args=command,
        env=(*own.env, *(_variable(text) for text in flags.texts("env"))),
        terminal=flags.flag("tty"),
        console_size=None,
        user=user_of(
            own.user, flags.text("user"), flags.numbers("additional-gids"), given=flags.given("user")
        ),
        capabilities=_with_capabilities(own.capabilities, flags.texts("cap")),
    )
    if flags.given("cwd"):
        process = attrs.evolve(process, cwd=_directory(flags.text("cwd")))
    if flags.given("no-new-privs"):
        process = attrs.evolve(process, no_new_privileges=flags.flag("no-new-privs"))
    if flags.text("apparmor"):
        process = attrs.evolve(process, apparmor_profile=flags.text("apparmor"))
    if flags.text("process-label"):
        process = attrs.evolve(process, selinux_label=flags.text("process-label"))
    return process


def user_of(own: User, text: str, further: list[int], *, given: bool = True) -> User:
    """The user of ``UID`` or ``UID:GID``, both numbers; the group stays what it was when only a user is named."""
    user = own
    if given:
        uid, colon, gid = text.partition(":")
        user = attrs.evolve(user, uid=parse_uint(uid, _MAX_ID, "uid"), username=None)
        if colon:
            user = attrs.evolve(user, gid=parse_uint(gid, _MAX_ID, "gid"))
    if any(not 0 <= number <= _MAX_ID for number in further):
        raise SpecError(f"additional-gids: expected numbers from 0 to {_MAX_ID}")
    return attrs.evolve(user, additional_gids=(*user.additional_gids, *further))


def _with_capabilities(own: Capabilities | None, names: list[str]) -> Capabilities | None:
    """Those that were asked for, in the sets that a program gets them from; never inheritable.

    Ambient ones must be inheritable, so they are asked for only where the configuration has some that are.
    A word that is no such name (``all``) is refused; of a capability that there is not, a warning tells.
    """
    if not names:
        return own
    for name in names:
        if not name.startswith("CAP_"):
            raise SpecError(f"--cap: expected the name of a capability, such as CAP_KILL, got {quote(name)}")
    sets = own or Capabilities()
    return attrs.evolve(
        sets,
        bounding=(*sets.bounding, *names),
        effective=(*sets.effective, *names),
        permitted=(*sets.permitted, *names),
        ambient=(*sets.ambient, *names) if sets.inheritable else sets.ambient,
    )


def _variable(text: str) -> str:
    name, equals, _ = text.partition("=")
    if not name or not equals:
        raise SpecError(f"--env: expected NAME=value, got {text[:100]!a}")
    return text


def _directory(text: str) -> str:
    if not text.startswith("/"):
        raise SpecError(f"--cwd: expected an absolute path, got {text[:100]!a}")
    return text


def sub_groups(texts: list[str]) -> dict[str, str]:
    """``[CONTROLLER,…:]PATH`` by controller; a path alone is for all, and then the only one."""
    found: dict[str, str] = {}
    for text in texts:
        names, colon, path = text.rpartition(":")
        if ":" in names or (not colon and len(texts) > 1):
            raise ValueError(f"invalid --cgroup argument: {text[:100]!a}")
        for name in names.split(","):
            found[name] = path
    return found
