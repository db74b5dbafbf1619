"""What compiled filters answer, call by call, through an interpreter of their instructions."""

from __future__ import annotations

import errno
import platform
from collections.abc import Callable

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ociworks.runtime import seccomp as filters
from ociworks.runtime.seccomp.names import ACTIONS
from ociworks.spec.runtime import Seccomp, Syscall, SyscallArg
from tests.runtime.bpf import I386, X32, X86_64, verdict

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")

ALLOW, KILL_PROCESS = ACTIONS["SCMP_ACT_ALLOW"], ACTIONS["SCMP_ACT_KILL_PROCESS"]
EPERM = ACTIONS["SCMP_ACT_ERRNO"] | errno.EPERM
READ, GETPID, MKDIR, SOCKET, SHMGET = 0, 39, 83, 41, 29
NUMBERS = {"read": READ, "getpid": GETPID, "mkdir": MKDIR, "kill": 62, "openat": 257, "socket": SOCKET}
U64 = (1 << 64) - 1


def allow(*names: str, args: tuple[SyscallArg, ...] = ()) -> Syscall:
    return Syscall(names=names, action="SCMP_ACT_ALLOW", args=args)


def arg(value: int, op: str = "SCMP_CMP_EQ", *, index: int = 0, two: int | None = None) -> SyscallArg:
    return SyscallArg(index=index, op=op, value=value, value_two=two)


def compiled(*rules: Syscall, default: str = "SCMP_ACT_ERRNO", architectures: tuple[str, ...] = ()) -> bytes:
    return filters.compile(
        Seccomp(default_action=default, architectures=architectures, syscalls=rules)
    ).program


@pytest.mark.parametrize("action", sorted(set(ACTIONS) - {"SCMP_ACT_NOTIFY"}))
def test_every_action_as_default_and_as_rule(action: str) -> None:
    number = {"SCMP_ACT_ERRNO": 1, "SCMP_ACT_TRACE": 1}.get(action, 0)
    program = compiled(allow("read"), default=action)
    assert verdict(program, GETPID) == ACTIONS[action] | number
    assert verdict(program, READ) == ALLOW
    program = compiled(Syscall(names=("read",), action=action), default="SCMP_ACT_LOG")
    assert verdict(program, READ) == ACTIONS[action] | number


NO_SUCH_CALL = ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS
THREE = ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")
CLONE3, CLOSE_RANGE, OPENAT2, FACCESSAT2 = 435, 436, 437, 439


@pytest.mark.parametrize("architectures", [(), THREE])
@pytest.mark.parametrize("default", ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"])
def test_calls_newer_than_the_list_do_not_exist(default: str, architectures: tuple[str, ...]) -> None:
    """So that a C library falls back; what the list left out on purpose stays forbidden."""
    program = compiled(allow("read", "openat2"), default=default, architectures=architectures)
    refused = verdict(program, GETPID)
    words = [(X86_64, 0)] + ([(I386, 0), (X86_64, X32)] if architectures else [])
    for word, bit in words:
        assert verdict(program, OPENAT2 + bit, arch=word) == ALLOW
        for number in (CLONE3, CLOSE_RANGE):
            assert verdict(program, number + bit, arch=word) == refused
        for number in (OPENAT2 + 1, FACCESSAT2, 1000):
            assert verdict(program, number + bit, arch=word) == NO_SUCH_CALL
    if not architectures:
        assert verdict(program, FACCESSAT2 + X32) == KILL_PROCESS
        assert verdict(program, FACCESSAT2, arch=I386) == KILL_PROCESS


@pytest.mark.parametrize("default", ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"])
def test_a_default_that_decides_hears_of_new_calls(default: str) -> None:
    program = compiled(Syscall(names=("read",), action="SCMP_ACT_ERRNO"), default=default)
    assert verdict(program, 1000) == verdict(program, GETPID) != NO_SUCH_CALL


def test_a_short_list_says_nothing_of_old_calls() -> None:
    program = compiled(allow("read"))
    assert verdict(program, 300) == EPERM
    assert verdict(program, 424) == NO_SUCH_CALL
    assert verdict(compiled(), 424) == EPERM


def test_errors_carry_their_number() -> None:
    seccomp = Seccomp(
        default_action="SCMP_ACT_ERRNO",
        default_errno_ret=errno.ENOSYS,
        syscalls=(Syscall(names=("read",), action="SCMP_ACT_TRACE", errno_ret=7),),
    )
    program = filters.compile(seccomp).program
    assert verdict(program, GETPID) == ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS
    assert verdict(program, READ) == ACTIONS["SCMP_ACT_TRACE"] | 7


def test_flags_and_listener() -> None:
    base = Seccomp(
        default_action="SCMP_ACT_ALLOW", flags=("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC")
    )
    assert (filters.compile(base).flags, filters.compile(base).needs_listener) == (3, False)
    asking = evolve(
        base,
        listener_path="/run/x",
        flags=(*(base.flags or ()), "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"),
        syscalls=(Syscall(names=("mkdir",), action="SCMP_ACT_NOTIFY"),),
    )
    result = filters.compile(asking)
    assert result.needs_listener
    assert result.flags == 1 | 2 | 8 | 16 | 32
    assert verdict(result.program, MKDIR) == ACTIONS["SCMP_ACT_NOTIFY"]


@pytest.mark.parametrize("architectures", [(), ("SCMP_ARCH_X86_64",)])
def test_rt_26_architectures_that_are_not_listed_are_ended(architectures: tuple[str, ...]) -> None:
    program = compiled(allow("read"), architectures=architectures)
    assert verdict(program, READ) == ALLOW
    assert verdict(program, 3, arch=I386) == KILL_PROCESS
    assert verdict(program, READ + X32) == KILL_PROCESS
    assert verdict(program, READ, arch=0xC00000B7) == KILL_PROCESS


def test_rt_26_the_native_architecture_is_covered_when_only_foreign_ones_are_listed() -> None:
    program = compiled(allow("read"), architectures=("SCMP_ARCH_X86",))
    assert verdict(program, READ) == ALLOW
    assert verdict(program, GETPID) == EPERM
    assert verdict(program, 3, arch=I386) == ALLOW  # read is 3 there
    assert verdict(program, READ, arch=I386) == EPERM


def test_all_three_architectures_of_the_machine() -> None:
    program = compiled(
        allow("read", "mkdir"), architectures=("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")
    )
    for number, arch in ((READ, X86_64), (MKDIR, X86_64), (READ + X32, X86_64), (3, I386), (39, I386)):
        assert verdict(program, number, arch=arch) == ALLOW, (number, arch)
    for number, arch in ((GETPID, X86_64), (GETPID + X32, X86_64), (20, I386)):
        assert verdict(program, number, arch=arch) == EPERM, (number, arch)


def test_conditions_on_one_argument_twice_are_alternatives() -> None:
    program = compiled(allow("kill", args=(arg(1), arg(2))))
    assert [verdict(program, 62, (value,)) for value in (1, 2, 3)] == [ALLOW, ALLOW, EPERM]


def test_conditions_on_different_arguments_hold_together() -> None:
    program = compiled(allow("kill", args=(arg(1), arg(2, index=1))))
    assert [verdict(program, 62, values) for values in ((1, 2), (1, 3), (3, 2))] == [ALLOW, EPERM, EPERM]


def test_rt_26_a_condition_is_not_lost_in_socketcall() -> None:
    """Libseccomp allows all of socketcall(SYS_SOCKET, …) for a rule that allows some of socket."""
    both = ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86")
    program = compiled(allow("socket", args=(arg(2),)), allow("bind"), architectures=both)
    assert verdict(program, SOCKET, (2,)) == ALLOW
    assert verdict(program, 359, (2,), I386) == ALLOW
    assert verdict(program, 102, (1,), I386) == EPERM  # socketcall: the family cannot be seen
    assert verdict(program, 102, (2,), I386) == ALLOW  # bind has no condition
    program = compiled(allow("socket", args=(arg(2),)), allow("socket"), architectures=both)
    assert verdict(program, 102, (1,), I386) == ALLOW


def test_rt_26_a_condition_is_not_lost_in_ipc() -> None:
    program = compiled(allow("shmget", args=(arg(7),)), architectures=("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"))
    assert verdict(program, SHMGET, (7,)) == ALLOW
    assert verdict(program, 117, (23,), I386) == EPERM
    assert verdict(program, 117, (0x10017,), I386) == EPERM  # the version is in the high half


def test_a_condition_for_denying_stays_with_the_multiplexer() -> None:
    deny = Syscall(names=("socket",), action="SCMP_ACT_ERRNO", args=(arg(38),))
    program = compiled(deny, default="SCMP_ACT_ALLOW", architectures=("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"))
    assert verdict(program, 102, (1,), I386) == EPERM
    assert verdict(program, 102, (2,), I386) == ALLOW


def test_the_same_filter_is_compiled_once() -> None:
    one = Seccomp(default_action="SCMP_ACT_ERRNO", syscalls=(allow("read"),))
    two = Seccomp(default_action="SCMP_ACT_ERRNO", syscalls=(allow("read"),))
    assert filters.compile(one) is filters.compile(two)


OPERATORS: dict[str, Callable[[int, int, int | None], bool]] = {
    "SCMP_CMP_NE": lambda value, one, _: value != one,
    "SCMP_CMP_LT": lambda value, one, _: value < one,
    "SCMP_CMP_LE": lambda value, one, _: value <= one,
    "SCMP_CMP_EQ": lambda value, one, _: value == one,
    "SCMP_CMP_GE": lambda value, one, _: value >= one,
    "SCMP_CMP_GT": lambda value, one, _: value > one,
    "SCMP_CMP_MASKED_EQ": lambda value, one, two: value & one == two,
}
edges = st.sampled_from([0, 1, 2, 38, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 32) + 38, U64])
values = st.one_of(edges, st.integers(0, U64))


@st.composite
def conditions(draw: st.DrawFn) -> SyscallArg:
    op, one = draw(st.sampled_from(sorted(OPERATORS))), draw(values)
    two = draw(values) & one if op == "SCMP_CMP_MASKED_EQ" else None
    return arg(one, op, index=draw(st.integers(0, 5)), two=two)


def holds(condition: SyscallArg, args: tuple[int, ...]) -> bool:
    return bool(OPERATORS[condition.op](args[condition.index], condition.value, condition.value_two))


@given(
    rules=st.dictionaries(
        st.sampled_from(sorted(NUMBERS)),
        st.lists(conditions(), max_size=3, unique_by=lambda a: a.index),
        max_size=4,
    ),
    calls=st.lists(
        st.tuples(st.sampled_from(sorted(NUMBERS.values())), st.tuples(*[values] * 6)), max_size=8
    ),
)
def test_a_filter_means_what_its_rules_say(
    rules: dict[str, list[SyscallArg]], calls: list[tuple[int, tuple[int, ...]]]
) -> None:
    """For any profile and any calls: allowed exactly when all conditions of the call's rule hold."""
    program = compiled(*(allow(name, args=tuple(args)) for name, args in rules.items()))
    for number, args in calls:
        name = next(name for name, value in NUMBERS.items() if value == number)
        expected = name in rules and all(holds(condition, args) for condition in rules[name])
        assert verdict(program, number, args) == (ALLOW if expected else EPERM)


@given(st.lists(conditions(), min_size=1, max_size=3), st.tuples(*[values] * 6))
def test_rules_for_one_call_are_alternatives(alternatives: list[SyscallArg], args: tuple[int, ...]) -> None:
    program = compiled(*(allow("openat", args=(condition,)) for condition in alternatives))
    expected = any(holds(condition, args) for condition in alternatives)
    assert verdict(program, NUMBERS["openat"], args) == (ALLOW if expected else EPERM)


@pytest.mark.parametrize("value", [0, 1, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, U64])
def test_rt_26_ordered_alternatives(value: int) -> None:
    """The upper half of one is not met with the lower half of another, as by libseccomp, which lets 1 through."""
    program = compiled(
        allow("openat", args=(arg(1 << 32, "SCMP_CMP_GE", index=4),)),
        allow("openat", args=(arg(0, "SCMP_CMP_LE", index=4),)),
    )
    expected = value >= 1 << 32 or value <= 0
    assert verdict(program, NUMBERS["openat"], (0, 0, 0, 0, value, 0)) == (ALLOW if expected else EPERM)
