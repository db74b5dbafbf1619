"""From ``linux.seccomp`` to the BPF program that the init installs, through libseccomp.

libseccomp knows the system calls of every architecture; we give it rules and take the program. The library and its
binding are loaded on first use: finding the library costs tens of milliseconds.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
from typing import Protocol

from ociworks.errors import InvalidSpec, MissingDependency, NotSupported, Problem, quote
from ociworks.runtime.seccomp.alternatives import alternatives, decide
from ociworks.runtime.seccomp.checks import check, notifies
from ociworks.runtime.seccomp.multiplex import JEQ, JUMP, LOAD, instruction, prologue
from ociworks.runtime.seccomp.names import (
    ACTIONS,
    ARCHITECTURES,
    ERRNO_ACTIONS,
    FLAGS,
    NEW_LISTENER,
    OPERATORS,
    STRICTNESS,
    TSYNC,
    TSYNC_ESRCH,
    UNLESS_GIVEN,
    WAIT_KILLABLE_RECV,
)
from ociworks.runtime.seccomp.newer import unknown_calls
from ociworks.runtime.seccomp.ranges import by_number, settled
from ociworks.runtime.seccomp.value import CompiledFilter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import ModuleType

    from ociworks.spec.runtime import Seccomp, Syscall

__all__ = ["CompiledFilter", "compile"]

_log = logging.getLogger(__name__)

_CACHED = 64
_UNKNOWN = -1
_ARCHITECTURE = 4  # where struct seccomp_data has the architecture word
_BINARY_TREE = 2
_INSTRUCTIONS = 4096  # the kernel's BPF_MAXINSNS
_KILL_PROCESS = ACTIONS["SCMP_ACT_KILL_PROCESS"]


class _Filter(Protocol):
    """What we use of ``pyseccomp.SyscallFilter``, which has no types."""

    def set_attr(self, attr: int, value: int) -> None: ...
    def exist_arch(self, arch: int) -> bool: ...
    def add_arch(self, arch: int) -> None: ...
    def remove_arch(self, arch: int) -> None: ...
    def add_rule(self, action: int, syscall: int, *args: object) -> None: ...
    def export_bpf(self, file: object) -> None: ...


def compile(seccomp: Seccomp) -> CompiledFilter:  # noqa: A001
    """Compile a filter for this machine; the same filter is compiled once per process.

    The native architecture is always covered; calls of an architecture that is not listed end the process. A name
    that libseccomp does not know is skipped, and logged, when the default is at least as strict as its rule;
    conditions that repeat an argument's index are alternatives. Both are what the field's runtimes do.

    Raises InvalidSpec with every problem, NotSupported when this libseccomp cannot express the filter, and
    MissingDependency without libseccomp.
    """
    return _compile(seccomp)


@functools.lru_cache(_CACHED)
def _compile(seccomp: Seccomp) -> CompiledFilter:
    problems = check(seccomp)
    if problems:
        raise InvalidSpec(problems, "seccomp")
    skipped = _skipped(seccomp)
    native = _library().system_arch()
    groups = _groups(seccomp, native)
    programs = {key: _program(seccomp, key, members) for key, members in groups.items()}
    program = _dispatch(programs.pop(_word(native)), programs)
    _check_length(program)
    if skipped:
        _log.info("seccomp: skipped system calls that libseccomp does not know: %s", quote(" ".join(skipped)))
    return CompiledFilter(program=program, flags=_flags(seccomp), needs_listener=notifies(seccomp))


def _groups(seccomp: Seccomp, native: int) -> dict[int, list[int]]:
    """Architectures by the word that a filter sees: x32 calls come with that of x86-64.

    One program for each, made apart, costs libseccomp half the time of one for all together.
    """
    groups: dict[int, list[int]] = {_word(native): [native]}
    for name in seccomp.architectures:
        number = ARCHITECTURES[name]
        members = groups.setdefault(_word(number), [])
        if number not in members:
            members.append(number)
    return groups


def _word(architecture: int) -> int:
    return (
        ARCHITECTURES["SCMP_ARCH_X86_64"] if architecture == ARCHITECTURES["SCMP_ARCH_X32"] else architecture
    )


def _program(seccomp: Seccomp, word: int, members: list[int]) -> bytes:
    """The program for calls of one architecture word."""
    library = _library()
    default = _return(seccomp.default_action, seccomp.default_errno_ret)
    compiled: _Filter = library.SyscallFilter(default)
    compiled.set_attr(library.Attr.ACT_BADARCH, _KILL_PROCESS)
    try:
        compiled.set_attr(library.Attr.CTL_OPTIMIZE, _BINARY_TREE)
    except OSError:
        _log.debug("libseccomp is too old for binary trees; the filter is a list")
    _set_architectures(compiled, members)
    names, answers = settled(
        seccomp, default, members, lambda rule: _return(rule.action, rule.errno_ret), library.resolve_syscall
    )
    for index, rule in enumerate(seccomp.syscalls):
        _add_rule(compiled, seccomp, rule, names, f"$.linux.seccomp.syscalls[{index}]")
    own = decide(
        seccomp,
        default,
        word,
        lambda rule: _return(rule.action, rule.errno_ret),
        lambda name: [number for member in members if (number := library.resolve_syscall(member, name)) >= 0],
    )
    newer = unknown_calls(seccomp, word, members, library.resolve_syscall)
    first = prologue(seccomp, default, functools.partial(library.resolve_syscall, word))
    return newer + first + own + by_number(word, answers) + _export(compiled)


def _dispatch(native: bytes, others: Mapping[int, bytes]) -> bytes:
    """Put the programs one after the other; each checks its architecture again, the native one refuses the rest."""
    if not others:
        return native
    head = instruction(LOAD, _ARCHITECTURE)
    start = 1 + 2 * len(others) + len(native) // 8
    for position, (word, program) in enumerate(others.items()):
        skip = start - (1 + 2 * position + 2)
        # Conditional jumps reach 255 instructions only.
        head += instruction(JEQ, word, if_false=1) + instruction(JUMP, skip)
        start += len(program) // 8
    return b"".join((head, native, *others.values()))


@functools.cache
def _library() -> ModuleType:
    try:
        import pyseccomp  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingDependency(
            "seccomp: the Python package pyseccomp is missing: pip install pyseccomp"
        ) from error
    except (RuntimeError, AttributeError, OSError) as error:
        raise MissingDependency(
            f"seccomp: libseccomp is missing or too old ({error}): apt-get install libseccomp2"
        ) from error
    module: ModuleType = pyseccomp
    return module


def _return(action: str, data: int | None) -> int:
    """What the filter returns; an error without a number is EPERM."""
    if action not in ERRNO_ACTIONS:
        return ACTIONS[action]
    return ACTIONS[action] | (errno.EPERM if data is None else data)


def _set_architectures(compiled: _Filter, members: Sequence[int]) -> None:
    """Cover exactly ``members``; libseccomp begins with the native architecture."""
    native = _library().system_arch()
    for number in members:
        try:
            if not compiled.exist_arch(number):
                compiled.add_arch(number)
        except OSError as error:
            raise NotSupported(
                f"$.linux.seccomp.architectures: libseccomp cannot filter {_name(number)}: {error.strerror}"
            ) from error
    if native not in members:
        compiled.remove_arch(native)


def _name(architecture: int) -> str:
    return next((name for name, number in ARCHITECTURES.items() if number == architecture), hex(architecture))


def _add_rule(
    compiled: _Filter, seccomp: Seccomp, rule: Syscall, settled: frozenset[str], where: str
) -> None:
    """Give libseccomp a rule, except for the names that are ``settled`` without it."""
    action = _return(rule.action, rule.errno_ret)
    if action == _return(seccomp.default_action, seccomp.default_errno_ret):
        return  # libseccomp refuses rules that change nothing
    alternatives = list(_alternatives(rule))
    for name in rule.names:
        number = _resolve(name)
        if number == _UNKNOWN or name in settled:
            continue  # see _skipped
        for conditions in alternatives:
            try:
                compiled.add_rule(action, number, *conditions)
            except OSError as error:
                raise NotSupported(
                    f"{where}: libseccomp cannot add the rule for {quote(name)}: {error.strerror}"
                ) from error


@functools.lru_cache(1024)
def _resolve(name: str) -> int:
    """The number of a call, negative when only other architectures have it, _UNKNOWN when none has."""
    library = _library()
    number: int = (
        library.resolve_syscall(library.Arch.NATIVE, name) if name.isascii() and "\0" not in name else -1
    )
    return number


def _skipped(seccomp: Seccomp) -> list[str]:
    """The names that libseccomp does not know. Skipping is safe only when it is stricter: the default then applies."""
    skipped = []
    for index, rule in enumerate(seccomp.syscalls):
        unknown = [name for name in rule.names if _resolve(name) == _UNKNOWN]
        if unknown and STRICTNESS.index(rule.action) < STRICTNESS.index(seccomp.default_action):
            message = f"unknown system call {quote(unknown[0])}: without its rule more is allowed than was asked for"
            raise InvalidSpec([Problem(f"$.linux.seccomp.syscalls[{index}].names", message)], "seccomp")
        skipped += unknown
    return skipped


def _alternatives(rule: Syscall) -> Iterator[tuple[object, ...]]:
    """Conditions that must hold together; libseccomp compares each argument once in a rule."""
    library = _library()
    for conditions in alternatives(rule):
        yield tuple(
            library.Arg(arg.index, OPERATORS[arg.op], arg.value, arg.value_two or 0) for arg in conditions
        )


def _flags(seccomp: Seccomp) -> int:
    flags = 0
    for name in UNLESS_GIVEN if seccomp.flags is None else seccomp.flags:
        flags |= FLAGS[name]
    if not notifies(seccomp):
        return flags & ~WAIT_KILLABLE_RECV  # it is about waiting for a listener, and needs one
    if flags & TSYNC:
        flags |= TSYNC_ESRCH  # the kernel wants it beside a listener: both return a number
    return flags | NEW_LISTENER


def _export(compiled: _Filter) -> bytes:
    with os.fdopen(os.memfd_create("seccomp", os.MFD_CLOEXEC), "rb", buffering=0) as stream:
        compiled.export_bpf(stream)
        size = os.fstat(stream.fileno()).st_size
        return os.pread(stream.fileno(), size, 0)


def _check_length(program: bytes) -> None:
    count = len(program) // 8
    if not 0 < count <= _INSTRUCTIONS:
        raise NotSupported(
            f"seccomp: the filter has {count} instructions; the kernel takes 1 to {_INSTRUCTIONS}"
        )
