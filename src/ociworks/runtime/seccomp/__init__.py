"""System call filters: ``linux.seccomp`` in, a BPF program out.

================ ==================================================================================
``names``        the specification's words and the numbers behind them
``checks``       every problem of a filter; unknown words are errors
``multiplex``    conditions that libseccomp would lose on 32-bit x86 and others
``newer``        calls that are newer than a filter do not exist
``ranges``       calls whose answer depends on their number alone
``alternatives`` several rules for one call that libseccomp would mix up
``compiler``     :func:`compile` → :class:`CompiledFilter`, through libseccomp, cached
``value``        what comes out of it; ``stored`` keeps it on disk, for commands
``handover``     gives the descriptor of a filter that asks (SCMP_ACT_NOTIFY) to the one who answers
``listener``     :class:`Listener`, who answers: receive a call, look at it, respond
================ ==================================================================================

The program is compiled in the caller and installed, as bytes, by the init. The default profile is
:mod:`ociworks.spec.defaults_seccomp`.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.runtime.seccomp.checks import check
    from ociworks.runtime.seccomp.compiler import compile  # noqa: A004
    from ociworks.runtime.seccomp.listener import Call, Listener, Notifier
    from ociworks.runtime.seccomp.value import CompiledFilter

__all__ = ["Call", "CompiledFilter", "Listener", "Notifier", "check", "compile"]

_HOMES = {
    "Call": "listener",
    "CompiledFilter": "value",
    "Listener": "listener",
    "Notifier": "listener",
    "check": "checks",
    "compile": "compiler",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = f"{__name__}.{_HOMES[name]}"
    __import__(home)
    value: object = getattr(sys.modules[home], name)
    globals()[name] = value
    return value
