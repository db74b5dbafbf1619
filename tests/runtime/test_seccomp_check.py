"""What a filter may not say (RT-26): every unknown word is an error before anything exists."""

from __future__ import annotations

import pytest
from attrs import evolve

from ociworks.errors import InvalidSpec, MissingDependency
from ociworks.runtime import seccomp as filters
from ociworks.runtime.seccomp import compiler
from ociworks.spec.runtime import Seccomp, Syscall, SyscallArg

ALLOW_ALL = Seccomp(default_action="SCMP_ACT_ALLOW")


def rule(action: str = "SCMP_ACT_ERRNO", *, errno_ret: int | None = None, **arg: int | str) -> Syscall:
    args: tuple[SyscallArg, ...] = ()
    if arg:
        args = (SyscallArg(index=int(arg.get("index", 0)), op=str(arg.get("op", "SCMP_CMP_EQ")), value=1),)
    return Syscall(names=("mkdir",), action=action, errno_ret=errno_ret, args=args)


@pytest.mark.parametrize(
    ("seccomp", "path"),
    [
        (evolve(ALLOW_ALL, default_action=""), "defaultAction"),
        (evolve(ALLOW_ALL, default_action="SCMP_ACT_ALOW"), "defaultAction"),
        (evolve(ALLOW_ALL, default_action="SCMP_ACT_NOTIFY"), "defaultAction"),
        (evolve(ALLOW_ALL, default_errno_ret=1), "defaultErrnoRet"),
        (evolve(ALLOW_ALL, architectures=("SCMP_ARCH_X86_65",)), "architectures[0]"),
        (evolve(ALLOW_ALL, flags=("SECCOMP_FILTER_FLAG_NEW",)), "flags[0]"),
        (evolve(ALLOW_ALL, listener_metadata="x"), "listenerMetadata"),
        (evolve(ALLOW_ALL, syscalls=(rule("SCMP_ACT_DENY"),)), "syscalls[0].action"),
        (evolve(ALLOW_ALL, syscalls=(rule(errno_ret=99999),)), "syscalls[0].errnoRet"),
        (evolve(ALLOW_ALL, syscalls=(rule("SCMP_ACT_KILL", errno_ret=1),)), "syscalls[0].errnoRet"),
        (evolve(ALLOW_ALL, syscalls=(rule(index=9),)), "syscalls[0].args[0].index"),
        (evolve(ALLOW_ALL, syscalls=(rule(op="=="),)), "syscalls[0].args[0].op"),
        (evolve(ALLOW_ALL, syscalls=(rule("SCMP_ACT_NOTIFY"),)), "listenerPath"),
        (evolve(ALLOW_ALL, syscalls=(Syscall(names=(), action="SCMP_ACT_LOG"),)), "syscalls[0].names"),
    ],
)
def test_rt_26_unknown_words_are_errors(seccomp: Seccomp, path: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        filters.compile(seccomp)
    assert [problem.path for problem in caught.value.problems] == [f"$.linux.seccomp.{path}"]


@pytest.mark.parametrize("name", ["sendmsg", "write"])
def test_rt_26_the_calls_that_hand_the_listener_over_cannot_be_asked_about(name: str) -> None:
    seccomp = evolve(
        ALLOW_ALL, listener_path="/run/listener", syscalls=(Syscall(names=(name,), action="SCMP_ACT_NOTIFY"),)
    )
    with pytest.raises(InvalidSpec, match=name):
        filters.compile(seccomp)


@pytest.mark.parametrize("name", ["mkdri", "", "mkdir\0", "mkdir ", "mkdir\n", "ｍkdir"])
def test_rt_26_a_misspelt_denial_is_an_error(name: str) -> None:
    seccomp = evolve(ALLOW_ALL, syscalls=(Syscall(names=(name,), action="SCMP_ACT_ERRNO"),))
    with pytest.raises(InvalidSpec, match="unknown system call"):
        filters.compile(seccomp)


def test_an_unknown_name_is_skipped_where_that_is_stricter(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="ociworks")
    compiler._compile.cache_clear()
    names = ("read", "a_call_of_the_future")
    seccomp = Seccomp(
        default_action="SCMP_ACT_ERRNO", syscalls=(Syscall(names=names, action="SCMP_ACT_ALLOW"),)
    )
    assert filters.compile(seccomp).instructions
    assert "a_call_of_the_future" in caplog.text


def test_all_problems_come_at_once() -> None:
    seccomp = Seccomp(
        default_action="x", architectures=("y",), flags=("z",), syscalls=(rule("w"), rule(index=6))
    )
    assert len(filters.check(seccomp)) == 5


def test_rt_26_without_the_library_there_is_no_filter_and_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise RuntimeError("Unable to find libseccomp")

    compiler._compile.cache_clear()
    compiler._library.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "pyseccomp", None)
    try:
        with pytest.raises(MissingDependency, match="pyseccomp"):
            filters.compile(evolve(ALLOW_ALL, syscalls=(rule(),)))
    finally:
        compiler._library.cache_clear()
