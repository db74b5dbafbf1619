"""The system call filter (runtime-spec config-linux.md, Seccomp)."""

from __future__ import annotations

from ociworks._values import frozen
from ociworks.spec._model import Model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.spec._model import U32, U64

__all__ = ["Seccomp", "Syscall", "SyscallArg"]


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class SyscallArg(Model, nulls=True):
    """A condition on one argument."""

    index: U32
    value: U64
    value_two: U64 | None = None
    op: str


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Syscall(Model, nulls=True):
    """What to do for some system calls."""

    names: tuple[str, ...]
    action: str
    errno_ret: U32 | None = None
    args: tuple[SyscallArg, ...] = ()


@frozen(kw_only=True, slots=False, eq=False, repr=False)
class Seccomp(Model, nulls=True):
    """A whole filter."""

    default_action: str
    default_errno_ret: U32 | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] | None = None
    """None lets the runtime choose: it then leaves speculation as it is (``SECCOMP_FILTER_FLAG_SPEC_ALLOW``)."""
    listener_path: str | None = None
    listener_metadata: str | None = None
    syscalls: tuple[Syscall, ...] = ()
