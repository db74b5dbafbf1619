"""Hooks that run in the runtime's namespaces: by the caller, with nothing of the caller's but the standard streams.

Each gets the state of the container on its standard input. Those before the end abort what goes on when one fails
(:func:`run_before`, :func:`run_started`); those after it are all run, and somebody hears of a failing one
(:func:`run_stopped`), as runtime-spec runtime.md, Lifecycle, has it.
"""

from __future__ import annotations

import os

from ociworks.errors import CreateFailed
from ociworks.runtime import plan
from ociworks.runtime._init import hooks
from ociworks.runtime._init.context import StepError
from ociworks.spec.runtime import Hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ociworks.spec.runtime import Hook, Spec

__all__ = ["run_before", "run_started", "run_stopped"]


def run_before(spec: Spec, container_id: str, bundle: str, pid: int) -> None:
    """Run those of ``prestart`` and ``createRuntime``. CreateFailed by the first that fails or takes too long."""
    found = spec.hooks or Hooks()
    # Prestart hooks were once called by "start", of a container that was created; they still expect to read that.
    _must("prestart", found.prestart, spec, container_id, bundle, "created", pid)
    _must("createRuntime", found.create_runtime, spec, container_id, bundle, "creating", pid)


def run_started(spec: Spec, container_id: str, bundle: str, pid: int) -> None:
    """Run those of ``poststart``. CreateFailed by the first that fails: the container is to be stopped then."""
    _must("poststart", (spec.hooks or Hooks()).poststart, spec, container_id, bundle, "running", pid)


def run_stopped(spec: Spec, container_id: str, bundle: str, warn: Callable[[str], object]) -> None:
    """Run those of ``poststop``, whatever single ones do; ``warn`` hears of that."""
    for hook in (spec.hooks or Hooks()).poststop:
        try:
            _run(hook, spec, container_id, bundle, "stopped", 0)
        except StepError as error:
            warn(f"poststop hook {hook.path} of container {container_id}: {error.text}")
        except OSError as error:
            warn(f"poststop hook {hook.path} of container {container_id}: {error.strerror}")


def _must(
    kind: str, found: Iterable[Hook], spec: Spec, container_id: str, bundle: str, status: str, pid: int
) -> None:
    for number, hook in enumerate(found):
        try:
            _run(hook, spec, container_id, bundle, status, pid)
        except (OSError, StepError) as error:
            why = error.strerror if isinstance(error, OSError) else error.text
            message = f"error running {kind} hook #{number}: {hook.path}: {why}"
            raise CreateFailed(message, step="hook", path=hook.path) from error


def _run(hook: Hook, spec: Spec, container_id: str, bundle: str, status: str, pid: int) -> None:
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
