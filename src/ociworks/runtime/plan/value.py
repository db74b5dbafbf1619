"""`Plan`: a container's creation as data, to print, compare, edit and run."""

from __future__ import annotations

import os

from ociworks._linux import numbers as kernel
from ociworks._values import evolve, frozen
from ociworks.errors import NotSupported, quote
from ociworks.runtime.plan import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Literal, TypeAlias

    from ociworks.runtime import cgroups
    from ociworks.runtime.plan.namespaces import IDMaps, Namespaces
    from ociworks.runtime.plan.resctrl import ResctrlPlan
    from ociworks.runtime.plan.sources import Source
    from ociworks.spec.runtime import Spec

__all__ = ["Place", "Plan", "PlanChange", "PlanDiff", "rootfs_of"]

Place: TypeAlias = "int | str | ops.Op"
"""An operation of a plan: its number (negative from the end), the name of the first one, or the operation itself."""

_FACTS: Final = ("namespaces", "maps", "sources", "time_offsets")
_VOCABULARY: Final = frozenset(name for name in ops.__all__ if name.islower())


@frozen(kw_only=True)
class PlanChange:
    """One difference: what only one of two plans says; ``number`` is that of an operation, None otherwise."""

    kind: Literal["removed", "added"]
    what: str
    number: int | None = None

    def __str__(self) -> str:
        sign = "-" if self.kind == "removed" else "+"
        return f"{sign} {self.what}" if self.number is None else f"{sign} {self.number:3} {self.what}"


@frozen
class PlanDiff:
    """How one plan differs from another; false when they are the same. ``print(diff)`` shows it."""

    changes: tuple[PlanChange, ...]

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __str__(self) -> str:
        return "\n".join(str(change) for change in self.changes)


@frozen(kw_only=True)
class Plan:
    """All that a container's creation will do. ``print(plan)`` shows it, :meth:`Runtime.create_from` does it.

    A plan is a value: :meth:`replace`, :meth:`insert` and :meth:`remove` give another one, and ``attrs.evolve``
    changes the rest. An edited plan is executed as it stands: what the configuration promised is the editor's concern.
    """

    container_id: str
    bundle: str
    spec: Spec
    namespaces: Namespaces
    maps: IDMaps | None
    cgroup: cgroups.CgroupPlan
    operations: tuple[ops.Op, ...]
    """What the container's first process does, in order."""
    sources: tuple[Source, ...] = ()
    """What the launcher opens on the host for binds, by number."""
    time_offsets: str = ""
    """The clocks' offsets in the container's time namespace, as the kernel reads them."""
    resctrl: ResctrlPlan | None = None
    passed: tuple[int, ...] = ()
    """Descriptors of the caller's that the program inherits, from 3 on."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The files by which a process enters the control groups that it is not cloned into."""
        return self.cgroup.tasks if self.resctrl is None else (*self.cgroup.tasks, *self.resctrl.tasks)

    @property
    def rootfs(self) -> str:
        """The root filesystem's path on the host."""
        return rootfs_of(self.spec, self.bundle)

    @property
    def clone_flags(self) -> int:
        """The namespaces that are made by the clone; the cgroup namespace comes later, from inside its group."""
        return self.namespaces.new & ~kernel.CLONE_NEWCGROUP

    def index(self, place: Place) -> int:
        """The number of an operation. Raises ValueError when the plan has no such one."""
        if isinstance(place, int):
            if not -len(self.operations) <= place < len(self.operations):
                raise ValueError(
                    f"the plan has {len(self.operations)} operations, expected one of them, got {place}"
                )
            return place % len(self.operations)
        for number, op in enumerate(self.operations):
            if place in (op.name, op):
                return number
        raise ValueError(f"the plan has no operation {quote(str(place))}; print(plan) shows those it has")

    def find(self, name: str) -> tuple[ops.Op, ...]:
        """Every operation of this name, in order."""
        return tuple(op for op in self.operations if op.name == name)

    def insert(self, *new: ops.Op, before: Place | None = None, after: Place | None = None) -> Plan:
        """With further operations ``before`` or ``after`` one (exactly one of the two is given)."""
        if (before is None) == (after is None):
            raise ValueError("expected either before or after")
        at = self.index(before) if before is not None else self.index(after or 0) + 1
        return self._with((*self.operations[:at], *new, *self.operations[at:]))

    def replace(self, place: Place, *new: ops.Op) -> Plan:
        """With other operations in the place of one."""
        at = self.index(place)
        return self._with((*self.operations[:at], *new, *self.operations[at + 1 :]))

    def remove(self, place: Place) -> Plan:
        """Without one operation."""
        return self.replace(place)

    def diff(self, other: Plan) -> PlanDiff:
        """What must be removed from and added to this plan to make ``other``; compared by value, not as printed."""
        return PlanDiff((*_facts(self, other), *_operations(self.operations, other.operations)))

    def _with(self, operations: tuple[ops.Op, ...]) -> Plan:
        unknown = next((op.name for op in operations if op.name not in _VOCABULARY), None)
        if unknown is not None:
            raise NotSupported(
                f"operation {quote(unknown)}: the init knows only those of ociworks.runtime.plan.ops"
            )
        return evolve(self, operations=operations)

    def __str__(self) -> str:
        lines = [*_head(self), *(f"{number:3} {op}" for number, op in enumerate(self.operations))]
        return "\n".join(lines)


def rootfs_of(spec: Spec, bundle: str) -> str:
    """The root filesystem's path on the host; the bundle's own when the configuration has none."""
    return os.path.normpath(os.path.join(bundle, spec.root.path if spec.root is not None else ""))


def _head(plan: Plan) -> list[str]:
    rdt = plan.resctrl
    return [
        f"container {plan.container_id}",
        f"bundle {plan.bundle}",
        *(
            [f"scope {plan.cgroup.scope.slice}/{plan.cgroup.scope.unit}"]
            if plan.cgroup.scope is not None
            else []
        ),
        *(f"cgroup {path}" for path in plan.cgroup.directories),
        *(f"set {ways[0][0]} = {ways[0][1]!a}" for ways in plan.cgroup.settings),
        *(f"resctrl {path}" for path in (rdt.make if rdt is not None else ())),
        *(f"set {path} = {line!a}" for path, line in (rdt.write if rdt is not None else ())),
    ]


def _facts(old: Plan, new: Plan) -> list[PlanChange]:
    """Differences outside the operations."""
    before = [*_head(old), *(f"{name} {getattr(old, name)}" for name in _FACTS)]
    after = [*_head(new), *(f"{name} {getattr(new, name)}" for name in _FACTS)]
    return [
        *(PlanChange(kind="removed", what=line) for line in before if line not in after),
        *(PlanChange(kind="added", what=line) for line in after if line not in before),
    ]


def _operations(old: tuple[ops.Op, ...], new: tuple[ops.Op, ...]) -> list[PlanChange]:
    import difflib

    found: list[PlanChange] = []
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for tag, first, end, other, other_end in matcher.get_opcodes():
        if tag != "equal":
            found += [PlanChange(kind="removed", what=str(old[n]), number=n) for n in range(first, end)]
            found += [PlanChange(kind="added", what=str(new[n]), number=n) for n in range(other, other_end)]
    return found
