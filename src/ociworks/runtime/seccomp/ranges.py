"""Calls whose answer depends on their number alone, found by halving ranges of numbers.

An allow list names hundreds of calls, in a few dozen runs of consecutive numbers. libseccomp gives each call an
instruction of its own; the kernel checks, translates and compiles them all for every process that installs the filter.
Here each run has two::

    ld arch;  jeq word else → past all;  ld nr;  jge middle → upper half;  …  return action, or go past all

What has conditions, several answers, or a multiplexed way in stays with libseccomp, and comes after.
"""

from __future__ import annotations

from ociworks.runtime.seccomp.multiplex import JEQ, JUMP, LOAD, MULTIPLEXED, instruction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Final

    from ociworks.spec.runtime import Seccomp, Syscall

__all__ = ["by_number", "settled"]

_NUMBER, _ARCHITECTURE = 0, 4
_JGE, _RETURN = 0x35, 0x06
_FAR: Final = 255
"""As far as a conditional jump reaches."""


def settled(
    seccomp: Seccomp,
    default: int,
    members: Sequence[int],
    action: Callable[[Syscall], int],
    resolve: Callable[[int, str], int],
) -> tuple[frozenset[str], dict[int, int]]:
    """The names that need no libseccomp, and the answer to each of their numbers; ``default`` is that of all others.

    ``members`` are the architectures that come with one word, ``resolve`` gives the number that one has of a call: -1
    for none, less for one that is made of another call there.
    """
    rules: dict[str, list[Syscall]] = {}
    for rule in seccomp.syscalls:
        for name in rule.names:
            rules.setdefault(name, []).append(rule)
    names: set[str] = set()
    answers: dict[int, int] = {}
    for name, found in rules.items():
        given = {action(rule) for rule in found}
        numbers = [resolve(member, name) for member in members]
        if any(rule.args for rule in found) or len(given) > 1 or given == {default} or name in MULTIPLEXED:
            continue
        if min(numbers) < -1 or max(numbers) < 0:
            continue
        names.add(name)
        answers.update(dict.fromkeys((number for number in numbers if number >= 0), given.pop()))
    return frozenset(names), answers


def by_number(word: int, answers: Mapping[int, int]) -> bytes:
    """The instructions for one architecture ``word``; a number without an answer goes on behind them."""
    if not answers:
        return b""
    tree = _halve(_runs(answers))
    body = [(LOAD, _NUMBER, 0, 0), *tree]
    code = b"".join(
        instruction(JUMP, len(body) - position - 1) if item is None else instruction(*item)
        for position, item in enumerate(body)
    )
    past = instruction(JUMP, len(code) // 8)
    return instruction(LOAD, _ARCHITECTURE) + instruction(JEQ, word, if_true=1) + past + code


def _runs(answers: Mapping[int, int]) -> list[tuple[int, int | None]]:
    """Where each run of numbers with one answer begins, from 0 on; None is for no answer."""
    runs: list[tuple[int, int | None]] = [(0, None)]
    end = 0
    for number in sorted(answers):
        if number > end and runs[-1][1] is not None:
            runs.append((end, None))
        if runs[-1][1] != answers[number]:
            runs.append((number, answers[number]))
        end = number + 1
    runs.append((end, None))
    return runs[1:] if runs[1][0] == 0 else runs


def _halve(runs: Sequence[tuple[int, int | None]]) -> list[tuple[int, int, int, int] | None]:
    """The instructions that find a number's run; None stands for a jump past all of them."""
    if len(runs) == 1:
        answer = runs[0][1]
        return [None if answer is None else (_RETURN, answer, 0, 0)]
    middle = len(runs) // 2
    lower, upper = _halve(runs[:middle]), _halve(runs[middle:])
    if len(lower) <= _FAR:
        return [(_JGE, runs[middle][0], len(lower), 0), *lower, *upper]
    return [(_JGE, runs[middle][0], 0, 1), (JUMP, len(lower), 0, 0), *lower, *upper]
