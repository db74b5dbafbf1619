"""Where a custom runtime plugs in: a handful of methods, each of which changes nothing until it is overridden.

======================  ==========================  ===========================================================
method                  is asked                    may
======================  ==========================  ===========================================================
``edit_spec``           before a plan is made       give another configuration, or refuse
``edit_process``        for the first process and   give another process to execute
                        for each ``exec``
``edit_plan``           when a plan is made         insert, replace and remove init operations
``host_steps``          at creation and deletion    do something on the host around a container, and undo it
``on_event``            when something happened     listen
======================  ==========================  ===========================================================

The first four are asked again wherever a container is planned, printed or removed, maybe in another process than the
one that made it (a command line is one process per verb): they decide by their arguments alone. No code of a custom
runtime ever runs inside a container; only operations, which are data, do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableSequence, Sequence
from typing import Final, Literal

import attrs

from ociworks.errors import CreateFailed
from ociworks.runtime.events import Event
from ociworks.runtime.plan import Plan, ops
from ociworks.spec import Bundle
from ociworks.spec.runtime import Process, Spec

__all__ = ["HostStep", "Seams", "Subject", "do_steps", "undo_steps", "with_points"]

POINTS: Final = {"cloned": "hostSteps.cloned", "mounted": "hostSteps.mounted"}
"""The names of the points where the init waits for host steps."""
_log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Subject:
    """The container that a host step is about."""

    container_id: str
    bundle: str
    """The path of its bundle."""
    spec: Spec
    """Its configuration, after every edit."""
    directory: str
    """Its state directory: files in it go with the container, whatever happens to this process."""
    pid: int = 0
    """Its first process on the host; 0 when it is not there (any more)."""


@attrs.frozen(kw_only=True)
class HostStep:
    """Something to do on the host while a container is made.

    ``do`` is called when the first process exists and waits: ``cloned``, in its namespaces but before its mounts, or
    ``mounted``, before the root changes, where createRuntime hooks run too. ``undo`` is called after the container is
    gone, when its creation fails after ``do`` began, and by every later delete, so it must bear that there is nothing
    to undo. Whoever kills this process with SIGKILL prevents it: what must not stay belongs in ``directory``.
    """

    name: str
    do: Callable[[Subject], None]
    """Raises OSError or any OciworksError to make the creation fail."""
    undo: Callable[[Subject], None] | None = None
    at: Literal["cloned", "mounted"] = "mounted"


class Seams:
    """The methods that a custom runtime may override; see the table at the top of the module."""

    def edit_spec(self, bundle: Bundle, container_id: str) -> Bundle:  # noqa: ARG002 - for those who override
        """The bundle with the configuration to use.

        Give the same object for the same object (``functools.lru_cache`` on an identity will do) where speed matters:
        what follows from a configuration is cached by its identity. Raise NotSupported or InvalidSpec to refuse.
        """
        return bundle

    def edit_process(self, process: Process, spec: Spec) -> Process:  # noqa: ARG002
        """The process to execute in the place of ``process``, for the first one and for each exec.

        An exec starts from the configuration's process after its edit, with other arguments.
        """
        return process

    def edit_plan(self, plan: Plan) -> Plan:
        """The plan to carry out."""
        return plan

    def host_steps(self, subject: Subject) -> Sequence[HostStep]:  # noqa: ARG002
        """The host steps of a container, in order; undone in reverse. ``subject.pid`` is not known yet."""
        return ()

    def on_event(self, event: Event) -> None:
        """Listen; called in the thread that did or noticed it, so be quick. What it raises is the caller's error."""


def with_points(plan: Plan, steps: Sequence[HostStep]) -> Plan:
    """The plan with the points where the init waits for the steps."""
    wanted = {step.at for step in steps}
    if "cloned" in wanted:
        plan = plan.insert(ops.reach(POINTS["cloned"]), before=0)
    if "mounted" in wanted:
        plan = plan.insert(ops.reach(POINTS["mounted"]), before="prepare_cwd")
    return plan


def do_steps(steps: Sequence[HostStep], at: str, subject: Subject, begun: MutableSequence[HostStep]) -> None:
    """Do the steps of one point; each is in ``begun`` from its beginning. Raises CreateFailed for one that fails."""
    for step in steps:
        if step.at != at:
            continue
        begun.append(step)
        try:
            step.do(subject)
        except OSError as error:
            raise CreateFailed(
                f"host step {step.name}: {error}",
                step=step.name,
                errno=error.errno or 0,
                path=str(error.filename or ""),
            ) from error


def undo_steps(steps: Sequence[HostStep], subject: Subject) -> None:
    """Undo in reverse order; one that fails is logged, and the others are undone all the same."""
    for step in reversed(steps):
        if step.undo is None:
            continue
        try:
            step.undo(subject)
        except Exception:  # noqa: BLE001 - foreign code; the container is gone and the rest must go too
            _log.warning(
                "host step %s of container %s cannot be undone",
                step.name,
                subject.container_id,
                exc_info=True,
            )
