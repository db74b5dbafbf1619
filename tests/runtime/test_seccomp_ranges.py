"""Ranges of numbers beside libseccomp: the same answers as libseccomp alone, from fewer instructions."""

from __future__ import annotations

import functools
import platform

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from ociworks.errors import NotSupported
from ociworks.runtime.seccomp import compiler
from ociworks.runtime.seccomp.names import ACTIONS, ARCHITECTURES
from ociworks.runtime.seccomp.ranges import by_number
from ociworks.spec.defaults_seccomp import default_seccomp
from ociworks.spec.runtime import Seccomp, Syscall, SyscallArg
from tests.runtime.bpf import I386, X32, X86_64, verdict

ALLOW, TRAP = ACTIONS["SCMP_ACT_ALLOW"], ACTIONS["SCMP_ACT_TRAP"]
THREE = ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")
NAMES = """
    read write open close stat mmap socket socketcall connect getpid clone personality clone3 semop ipc chown32
    fchmodat2 openat2 time select _llseek fstat64 waitpid keyctl setns
""".split()
NUMBERS = [*range(480), 512, 1000, 2**31 - 1]
CALLS = [
    *((number, X86_64) for number in NUMBERS),
    *((number, I386) for number in NUMBERS),
    *((number | X32, X86_64) for number in [*range(600), 1000]),
]
ARGUMENTS: list[tuple[int, ...]] = [(), (1,), (3, 0, 0), (38,), (2**32 - 1,), (0x10000000,)]
x86_64_only = pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")


def by_libseccomp_alone(seccomp: Seccomp) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "settled", lambda *_: (frozenset(), {}))
        return compiler._compile.__wrapped__(seccomp).program


@x86_64_only
@pytest.mark.parametrize("capabilities", [(), ("CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_BPF")])
def test_the_default_profile_answers_as_before(capabilities: tuple[str, ...]) -> None:
    seccomp = default_seccomp(capabilities, "x86_64")
    program, other = compiler._compile.__wrapped__(seccomp).program, by_libseccomp_alone(seccomp)
    for number, word in CALLS:
        for arguments in ARGUMENTS:
            answer = verdict(program, number, arguments, arch=word)
            assert answer == verdict(other, number, arguments, arch=word), (number, word, arguments)
    assert len(program) < 0.7 * len(other)


@functools.cache
def named() -> list[tuple[int, int]]:
    """The calls of these names on each architecture, and their neighbours."""
    words = {"SCMP_ARCH_X86_64": X86_64, "SCMP_ARCH_X86": I386, "SCMP_ARCH_X32": X86_64}
    resolve = compiler._library().resolve_syscall
    found = [(resolve(ARCHITECTURES[arch], name), word) for arch, word in words.items() for name in NAMES]
    return [(near, word) for number, word in found if number >= 0 for near in (number, number + 1)]


RULES = st.builds(
    Syscall,
    names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True).map(tuple),
    action=st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_TRAP", "SCMP_ACT_LOG"]),
    args=st.sampled_from([(), (), (SyscallArg(index=0, op="SCMP_CMP_EQ", value=3),)]),
)


@x86_64_only
@settings(max_examples=50)
@given(
    st.builds(
        Seccomp,
        default_action=st.sampled_from(["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"]),
        architectures=st.sampled_from([(), ("SCMP_ARCH_X86",), THREE]),
        syscalls=st.lists(RULES, max_size=4, unique_by=lambda rule: rule.names).map(tuple),
    )
)
def test_any_list_answers_as_libseccomp_does(seccomp: Seccomp) -> None:
    try:
        other = by_libseccomp_alone(seccomp)
    except NotSupported:  # two answers to what is one call on another architecture
        reject()
    program = compiler._compile.__wrapped__(seccomp).program
    for number, word in named():
        for arguments in ((), (3,)):
            assert verdict(program, number, arguments, arch=word) == verdict(
                other, number, arguments, arch=word
            ), (number, word, arguments)


@given(st.dictionaries(st.integers(0, 3000), st.sampled_from([ALLOW, TRAP]), max_size=400))
def test_each_number_has_its_answer(answers: dict[int, int]) -> None:
    after = bytes.fromhex("06000000") + (0x7FC00000).to_bytes(4, "little")
    program = by_number(X86_64, answers) + after
    for number in {
        *answers,
        *(each + 1 for each in answers),
        *(max(each - 1, 0) for each in answers),
        2**32 - 1,
    }:
        assert verdict(program, number) == answers.get(number, 0x7FC00000)
        assert verdict(program, number, arch=I386) == 0x7FC00000
