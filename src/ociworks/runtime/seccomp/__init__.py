"""System call filters: ``linux.seccomp`` in, a BPF program out.

================ ==================================================================================
``names``        the specification's words and the numbers behind them
``check``        every problem of a filter; unknown words are errors
``multiplex``    conditions that libseccomp would lose on 32-bit x86 and others
``alternatives`` several rules for one call that libseccomp would mix up
``compiler``     :func:`compile` → :class:`CompiledFilter`, through libseccomp, cached
``handover``     gives the descriptor of a filter that asks (SCMP_ACT_NOTIFY) to the one who answers
``listener``     :class:`Listener`, who answers: receive a call, look at it, respond
================ ==================================================================================

The program is compiled in the caller and installed, as bytes, by the init. The default profile is
:mod:`ociworks.spec.defaults_seccomp`.
"""

from __future__ import annotations

from ociworks.runtime.seccomp.check import check
from ociworks.runtime.seccomp.compiler import CompiledFilter, compile  # noqa: A004

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.runtime.seccomp.listener import Call, Listener, Notifier

__all__ = ["Call", "CompiledFilter", "Listener", "Notifier", "check", "compile"]


def __getattr__(name: str) -> object:
    if name not in ("Call", "Listener", "Notifier"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ociworks.runtime.seccomp import listener

    value: object = getattr(listener, name)
    globals()[name] = value
    return value
