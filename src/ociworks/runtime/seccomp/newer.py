"""System calls that are newer than a filter: they do not exist, instead of being forbidden.

A C library that tries a new call first falls back to the old one after ENOSYS, not after EPERM. Whoever wrote an allow
list did not judge the calls beyond the newest that it names, so those get ENOSYS, as the field's runtimes do::

    ld arch;  jeq word else …;  ld nr;  jge x32 bit → x32;  jgt newest → return ENOSYS;  … next

Only where the default refuses: a default that allows, logs, or asks somebody decides about new calls too. And only
for calls since Linux 5.1, whose numbers follow each other on every architecture: a short list says nothing of old ones.
"""

from __future__ import annotations

import errno

from ociworks.runtime.seccomp.multiplex import JEQ, JUMP, LOAD, instruction
from ociworks.runtime.seccomp.names import ACTIONS, ARCHITECTURES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Final

    from ociworks.spec.runtime import Seccomp

__all__ = ["unknown_calls"]

_NUMBER, _ARCHITECTURE = 0, 4
_JGT, _JGE, _RETURN = 0x25, 0x35, 0x06
_X32_BIT: Final = 0x40000000
_FIRST: Final = "pidfd_send_signal"
_DECIDES: Final = frozenset(("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_NOTIFY"))


def unknown_calls(
    seccomp: Seccomp, word: int, members: Sequence[int], resolve: Callable[[int, str], int]
) -> bytes:
    """The instructions for one architecture ``word``, empty when there is nothing to say.

    ``members`` are the architectures whose calls come with it, ``resolve`` gives the number that one has of a call,
    negative for none.
    """
    if seccomp.default_action in _DECIDES:
        return b""
    names = {name for rule in seccomp.syscalls for name in rule.names}
    newest = {member: _newest(names, member, resolve) for member in members}
    x32 = newest.pop(ARCHITECTURES["SCMP_ARCH_X32"], -1)
    plain = max(newest.values(), default=-1)
    refuse = instruction(_RETURN, ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS)
    second = instruction(_JGT, x32, if_false=1) + refuse if x32 >= 0 else b""
    body = instruction(LOAD, _NUMBER)
    if word == ARCHITECTURES["SCMP_ARCH_X86_64"]:
        body += instruction(_JGE, _X32_BIT, if_true=2 if plain >= 0 else 0)
    if plain >= 0:
        body += instruction(_JGT, plain, if_false=1 + len(second) // 8) + refuse
    if plain < 0 and x32 < 0:
        return b""
    body += second
    skip = instruction(JUMP, len(body) // 8)
    return instruction(LOAD, _ARCHITECTURE) + instruction(JEQ, word, if_true=1) + skip + body


def _newest(names: Iterable[str], member: int, resolve: Callable[[int, str], int]) -> int:
    """The number above which calls are newer than the filter; negative when this libseccomp is too old to know."""
    last = resolve(member, _FIRST) - 1
    return max(last, *(resolve(member, name) for name in names)) if last >= 0 and names else -1
