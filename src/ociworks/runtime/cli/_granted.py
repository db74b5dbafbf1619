"""What the command goes on without, after a warning in its log; the library refuses it.

- Capabilities that cannot be had: the specification wants a warning (runtime-spec config.md, Linux Process), and runc
  gives one. It is read where somebody sits at a shell: ``run`` and ``exec``. ``create`` is what programs call, which
  have to hear of a name that nobody knows: it refuses that, as crun does, and only warns of what this kernel lacks.
- Letters of a device rule that mean nothing: they allow nothing, and deny everything.
- ``linux.mountLabel`` on a kernel without SELinux, which has nobody to ask for the labels of files. It confines no
  process, unlike ``process.selinuxLabel``, which is refused there.
"""

from __future__ import annotations

from ociworks._linux.numbers import CAPABILITIES, known_capabilities
from ociworks._values import evolve
from ociworks.errors import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Final

    from ociworks.spec.runtime import Capabilities, DeviceRule, Linux, Process, Spec

__all__ = ["granted", "granted_process"]

_LETTERS: Final = frozenset("rwm")


def granted(spec: Spec, caution: Callable[[str], None], *, names_must_be_known: bool = False) -> Spec:
    """The configuration with what can be had; ``caution`` is told of the rest."""
    process = spec.process and granted_process(spec.process, caution, names_must_be_known=names_must_be_known)
    linux = spec.linux and _granted_linux(spec.linux, caution)
    if process is spec.process and linux is spec.linux:
        return spec
    return evolve(spec, process=process, linux=linux)


def granted_process(
    process: Process, caution: Callable[[str], None], *, names_must_be_known: bool = False
) -> Process:
    """The same for one process: its capabilities."""
    sets = process.capabilities
    if sets is None:
        return process
    asked = {*sets.bounding, *sets.effective, *sets.inheritable, *sets.permitted, *sets.ambient}
    missing = asked.difference(known_capabilities())
    if names_must_be_known:
        missing.intersection_update(CAPABILITIES)
    if missing:
        caution(f"ignoring unknown or unavailable capabilities: [{' '.join(sorted(missing))}]")
        sets = _without(sets, missing)
        process = evolve(process, capabilities=sets)
    if sets.ambient:
        base = {*sets.permitted}.intersection(sets.inheritable)
        for name in sets.ambient:
            if name not in base:
                caution(f"can't raise ambient capability {name}: it is not permitted and inheritable")
    return process


def _granted_linux(linux: Linux, caution: Callable[[str], None]) -> Linux:
    resources = linux.resources
    if resources is not None and any(
        not _LETTERS.issuperset(rule.access or "") for rule in resources.devices
    ):
        rules = tuple(_granted_rule(rule, caution) for rule in resources.devices)
        linux = evolve(linux, resources=evolve(resources, devices=rules))
    if not linux.mount_label:
        return linux
    from ociworks.runtime.plan import labels

    labels.check_context(linux.mount_label, labels.MOUNT_LABEL)
    if labels.selinux_enabled():
        return linux
    caution(f"ignoring {labels.MOUNT_LABEL}: this kernel has no SELinux, so nobody would read the label")
    return evolve(linux, mount_label=None)


def _granted_rule(rule: DeviceRule, caution: Callable[[str], None]) -> DeviceRule:
    access = rule.access or ""
    if _LETTERS.issuperset(access):
        return rule
    taken = "".join(letter for letter in "rwm" if letter in access or not rule.allow)
    caution(f"the access {quote(access)} of a device rule is not made of rwm; taken as {quote(taken)}")
    return evolve(rule, access=taken)


def _without(sets: Capabilities, missing: set[str]) -> Capabilities:
    def kept(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name not in missing)

    return evolve(
        sets,
        bounding=kept(sets.bounding),
        effective=kept(sets.effective),
        inheritable=kept(sets.inheritable),
        permitted=kept(sets.permitted),
        ambient=kept(sets.ambient),
    )
