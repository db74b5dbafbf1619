"""Hooks that run in the runtime's namespaces: by the caller, with nothing of the caller's but the standard streams."""

from __future__ import annotations

import os

from ociworks.runtime import plan
from ociworks.runtime._init import hooks
from ociworks.spec.runtime import Hook, Spec

__all__ = ["run_hook"]


def run_hook(hook: Hook, spec: Spec, container_id: str, bundle: str, status: str, pid: int) -> None:
    """Run one hook to its end with the state of ``status`` on its standard input.

    Raises StepError or OSError when it cannot start, fails, or takes longer than its timeout.
    """
    before, after = plan.state_around_pid(spec, container_id, bundle, status)
    state = before + str(pid).encode() + after
    hooks.run(hook.path, hook.args, hook.env, hook.timeout or 0, state, _inheritable())


def _inheritable() -> tuple[int, ...]:
    """The descriptors above the standard ones that a program would inherit (RT-31)."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)  # trusted: the kernel's
        try:
            if fd > 2 and os.get_inheritable(fd):
                found.append(fd)
        except OSError:
            continue  # closed meanwhile, as the directory itself is
    return tuple(found)
