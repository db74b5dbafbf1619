"""Hooks that run in the runtime's namespaces: by the caller, with nothing of the caller's but the standard streams."""

from __future__ import annotations

import os
from collections.abc import Callable

from ociworks.runtime import plan
from ociworks.runtime._init import hooks
from ociworks.runtime._init.context import StepError
from ociworks.spec.runtime import Hook, Hooks, Spec

__all__ = ["run_after", "run_hook"]


def run_hook(hook: Hook, spec: Spec, container_id: str, bundle: str, status: str, pid: int) -> None:
    """Run one hook to its end with the state of ``status`` on its standard input.

    Raises StepError or OSError when it cannot start, fails, or takes longer than its timeout.
    """
    before, after = plan.state_around_pid(spec, container_id, bundle, status)
    state = before + str(pid).encode() + after
    hooks.run(hook.path, hook.args, hook.env, hook.timeout or 0, state, _inheritable())


def run_after(
    point: str, spec: Spec, container_id: str, bundle: str, pid: int, warn: Callable[[str], object]
) -> None:
    """Run the hooks after the fact, ``poststart`` or ``poststop``; ``warn`` hears of a failing one, and the others run.

    (runtime-spec runtime.md, Lifecycle)
    """
    status = "running" if point == "poststart" else "stopped"
    for hook in getattr(spec.hooks or Hooks(), point):
        try:
            run_hook(hook, spec, container_id, bundle, status, pid)
        except StepError as error:
            warn(f"{point} hook {hook.path} of container {container_id}: {error.text}")
        except OSError as error:
            warn(f"{point} hook {hook.path} of container {container_id}: {error.strerror}")


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
