"""Alternatives that libseccomp mixes up: several rules for one call that order numbers (``>``, ``≥``, ``<``, ``≤``).

It merges them into one tree of 32-bit comparisons, and the upper half of one rule is then met with the lower half of
another: "``arg ≥ 2³²`` or ``arg ≤ 0``" lets 1 through. Such calls get a few instructions of their own, which go before
libseccomp's and decide for good::

    ld arch;  jeq ours else next;  ld nr;  jeq call else …;  (conditions → return action)…  return default;  … next
"""

from __future__ import annotations

import sys

from ociworks.runtime.seccomp.multiplex import JEQ, JUMP, LOAD, instruction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Final

    from ociworks.spec.runtime import Seccomp, Syscall, SyscallArg

__all__ = ["alternatives", "decide"]

_AND, _JGT, _JGE, _RETURN = 0x54, 0x25, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_HALF: Final = (1 << 32) - 1
_ORDERING: Final = frozenset({"SCMP_CMP_GT", "SCMP_CMP_GE", "SCMP_CMP_LT", "SCMP_CMP_LE"})
_LOWER, _UPPER = (0, 4) if sys.byteorder == "little" else (4, 0)
_OK, _FAIL, _ON = "ok", "fail", "on"


def decide(
    seccomp: Seccomp,
    default: int,
    word: int,
    action: Callable[[Syscall], int],
    numbers: Callable[[str], Iterable[int]],
) -> bytes:
    """The instructions for one architecture ``word``; ``numbers`` are those that it has of a call.

    Empty when libseccomp can be trusted with every call.
    """
    body = b""
    for name, rules in _mixed(seccomp).items():
        judged = b"".join(
            _alternative(conditions, action(rule)) for rule in rules for conditions in alternatives(rule)
        )
        judged += instruction(_RETURN, default)
        for number in numbers(name):
            # Conditional jumps reach 255 instructions only.
            body += instruction(LOAD, _NUMBER) + instruction(JEQ, number, if_true=1)
            body += instruction(JUMP, len(judged) // 8) + judged
    if not body:
        return b""
    return (
        instruction(LOAD, _ARCHITECTURE)
        + instruction(JEQ, word, if_true=1)
        + instruction(JUMP, len(body) // 8)
        + body
    )


def alternatives(rule: Syscall) -> list[tuple[SyscallArg, ...]]:
    """Conditions that must hold together; those that repeat an argument are alternatives, as the field has it."""
    if len({arg.index for arg in rule.args}) == len(rule.args):
        return [rule.args]
    return [(arg,) for arg in rule.args]


def _mixed(seccomp: Seccomp) -> dict[str, list[Syscall]]:
    """The calls with several alternatives, one of which orders numbers, and all of which lead to the same action."""
    rules: dict[str, list[Syscall]] = {}
    for rule in seccomp.syscalls:
        for name in rule.names:
            rules.setdefault(name, []).append(rule)
    return {name: found for name, found in rules.items() if _is_mixed(found, seccomp.default_action)}


def _is_mixed(rules: list[Syscall], default: str) -> bool:
    same = len({(rule.action, rule.errno_ret) for rule in rules}) == 1 and rules[0].action != default
    several = sum(len(alternatives(rule)) for rule in rules) > 1
    ordering = any(arg.op in _ORDERING for rule in rules for arg in rule.args)
    return same and several and ordering and all(rule.args for rule in rules)


def _alternative(conditions: tuple[SyscallArg, ...], action: int) -> bytes:
    """Return ``action`` when all conditions hold, otherwise go on behind it."""
    steps = [_condition(arg) for arg in conditions]
    left = sum(len(step) for step in steps) + 1
    program = b""
    for step in steps:
        for place, (code, value, if_true, if_false) in enumerate(step):
            left -= 1
            distance = {_ON: 0, _OK: len(step) - place - 1, _FAIL: left}
            program += instruction(code, value, if_true=distance[if_true], if_false=distance[if_false])
    return program + instruction(_RETURN, action)


def _condition(arg: SyscallArg) -> list[tuple[int, int, str, str]]:
    """One comparison of 64 bits; each instruction with where it goes: on, to the end of this condition, or failed."""
    base = _ARGUMENTS + 8 * arg.index
    upper, lower = arg.value >> 32, arg.value & _HALF
    load_upper, load_lower = (LOAD, base + _UPPER, _ON, _ON), (LOAD, base + _LOWER, _ON, _ON)
    if arg.op == "SCMP_CMP_MASKED_EQ":
        wanted = arg.value_two or 0
        return [
            load_upper, (_AND, upper, _ON, _ON), (JEQ, wanted >> 32, _ON, _FAIL),
            load_lower, (_AND, lower, _ON, _ON), (JEQ, wanted & _HALF, _OK, _FAIL),
        ]  # fmt: skip
    if arg.op == "SCMP_CMP_EQ":
        return [load_upper, (JEQ, upper, _ON, _FAIL), load_lower, (JEQ, lower, _OK, _FAIL)]
    if arg.op == "SCMP_CMP_NE":
        return [load_upper, (JEQ, upper, _ON, _OK), load_lower, (JEQ, lower, _FAIL, _OK)]
    yes, no = (_OK, _FAIL) if arg.op in ("SCMP_CMP_GT", "SCMP_CMP_GE") else (_FAIL, _OK)
    compare = _JGT if arg.op in ("SCMP_CMP_GT", "SCMP_CMP_LE") else _JGE
    return [load_upper, (_JGT, upper, yes, _ON), (JEQ, upper, _ON, no), load_lower, (compare, lower, yes, no)]
