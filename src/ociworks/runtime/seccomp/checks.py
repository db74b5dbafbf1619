"""Everything that is wrong with a filter, before libseccomp sees it (design rule 16: unknown words are errors)."""

from __future__ import annotations

from ociworks.errors import Problem, quote
from ociworks.runtime.seccomp.names import ACTIONS, ARCHITECTURES, ERRNO_ACTIONS, FLAGS, OPERATORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociworks.spec.runtime import Seccomp, Syscall

__all__ = ["check", "notifies"]

_SECTION = "runtime-spec config-linux.md, Seccomp"
_MAX_ERRNO = 4095
_MAX_TRACE = 0xFFFF
# The init hands the listener over with these, and would wait for the listener to let it.
_NEVER_NOTIFY = frozenset(("sendmsg", "write"))


def check(seccomp: Seccomp) -> list[Problem]:
    """All problems of the filter, in document order."""
    return [Problem(f"$.linux.seccomp.{path}", message, _SECTION) for path, message in _problems(seccomp)]


def notifies(seccomp: Seccomp) -> bool:
    """Whether any rule asks a listener."""
    return any(rule.action == "SCMP_ACT_NOTIFY" for rule in seccomp.syscalls)


def _problems(seccomp: Seccomp) -> Iterator[tuple[str, str]]:
    yield from _action("", "default", seccomp.default_action, seccomp.default_errno_ret)
    if seccomp.default_action == "SCMP_ACT_NOTIFY":
        yield "defaultAction", "a listener cannot be asked about every call: the init would wait for itself"
    for index, name in enumerate(seccomp.architectures):
        if name not in ARCHITECTURES:
            yield f"architectures[{index}]", f"unknown architecture {quote(name)}"
    for index, name in enumerate(seccomp.flags or ()):
        if name not in FLAGS:
            yield f"flags[{index}]", f"unknown flag {quote(name)}"
    for index, rule in enumerate(seccomp.syscalls):
        yield from _rule(f"syscalls[{index}].", rule)
    if notifies(seccomp) and not seccomp.listener_path:
        yield "listenerPath", "expected a socket path, because a rule has the action SCMP_ACT_NOTIFY"
    if seccomp.listener_metadata and not seccomp.listener_path:
        yield "listenerMetadata", "there is no listenerPath to send it to"


def _rule(where: str, rule: Syscall) -> Iterator[tuple[str, str]]:
    if not rule.names:
        yield f"{where}names", "expected at least one name"
    yield from _action(where, "", rule.action, rule.errno_ret)
    for name in rule.names:
        if rule.action == "SCMP_ACT_NOTIFY" and name in _NEVER_NOTIFY:
            yield (
                f"{where}names",
                (f"SCMP_ACT_NOTIFY cannot be used for the {name} syscall, which hands over the listener"),
            )
    for index, arg in enumerate(rule.args):
        if arg.index > 5:
            yield f"{where}args[{index}].index", f"expected 0 to 5, got {arg.index}"
        if arg.op not in OPERATORS:
            yield f"{where}args[{index}].op", f"unknown operator {quote(arg.op)}"


def _action(where: str, prefix: str, action: str, errno: int | None) -> Iterator[tuple[str, str]]:
    names = ("defaultAction", "defaultErrnoRet") if prefix else ("action", "errnoRet")
    if action not in ACTIONS:
        yield f"{where}{names[0]}", f"unknown action {quote(action)}"
    elif errno is None:
        return
    elif action not in ERRNO_ACTIONS:
        yield f"{where}{names[1]}", f"{action} returns no number"
    elif errno > (maximum := _MAX_ERRNO if action == "SCMP_ACT_ERRNO" else _MAX_TRACE):
        yield f"{where}{names[1]}", f"expected at most {maximum}, got {errno}"
