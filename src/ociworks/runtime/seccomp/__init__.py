"""System call filters: ``linux.seccomp`` in, a BPF program out.

============= =====================================================================================
``names``      the specification's words and the numbers behind them
``check``      every problem of a filter; unknown words are errors
``multiplex``  conditions that libseccomp would lose on 32-bit x86 and others
``compiler``   :func:`compile` → :class:`CompiledFilter`, through libseccomp, cached
============= =====================================================================================

The program is compiled in the caller and installed, as bytes, by the init. The default profile is
:mod:`ociworks.spec.defaults_seccomp`.
"""

from __future__ import annotations

from ociworks.runtime.seccomp.check import check
from ociworks.runtime.seccomp.compiler import CompiledFilter, compile  # noqa: A004

__all__ = ["CompiledFilter", "check", "compile"]
