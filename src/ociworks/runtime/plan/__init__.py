"""From a configuration to a plan, and from a plan to what the launcher reads.

``build`` decides, ``value`` is the plan that it makes, ``ops`` are the operations, ``options`` sorts mount options,
``mounts``, ``devices``, ``protect``, ``groups``, ``namespaces``, ``process``, ``labels``, ``numa``, ``resctrl``,
``sysctl`` each translate one concern, ``sources`` collects what the launcher opens for mounts, ``refuse`` says what is
not done.
"""

from __future__ import annotations

from ociworks.runtime.plan.build import ExecPlan, build, build_exec, state_around_pid
from ociworks.runtime.plan.ops import Op
from ociworks.runtime.plan.value import Plan, PlanChange, PlanDiff

__all__ = ["ExecPlan", "Op", "Plan", "PlanChange", "PlanDiff", "build", "build_exec", "state_around_pid"]
