"""What the caller does at the points that a container's process reaches before its program (``_init.wire``)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from ociworks.errors import CreateFailed
from ociworks.runtime._hooks import run_before
from ociworks.runtime._init import wire
from ociworks.runtime._init.context import StepError
from ociworks.spec.runtime import Linux, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociworks.spec.runtime import Spec

__all__ = ["Points", "listener_point", "points"]

Points = Mapping[str, Callable[..., None]]
"""An action by the point's name; it gets the descriptors that come with it, if any, and closes them."""


def points(spec: Spec, container_id: str, bundle: str, pid: int) -> Points:
    """The actions for the first process ``pid`` of a container."""

    def hooks() -> None:
        run_before(spec, container_id, bundle, pid)

    def devices(channel: int) -> None:
        from ociworks.runtime.netdevices import move_devices

        move_devices((spec.linux or Linux()).net_devices, pid, channel)

    return {
        wire.MAP_IDS: functools.partial(_map_ids, recursive=False),
        wire.MAP_ALL_IDS: functools.partial(_map_ids, recursive=True),
        wire.CREATE_RUNTIME: hooks,
        wire.NETWORK_DEVICES: devices,
        **listener_point(spec, State(id=container_id, status="created", bundle=bundle, pid=pid), pid),
    }


def _map_ids(tree: int, user_namespace: int, *, recursive: bool) -> None:
    """What an init in a user namespace may not: map the owners of a tree that it opened, as a namespace has them."""
    from ociworks.runtime._init import sources

    try:
        sources.map_ids(tree, user_namespace, recursive=recursive)
    except OSError as error:
        raise _not_mapped(error.strerror or "", error.errno) from error
    except StepError as error:
        raise _not_mapped(error.text, error.number) from error
    finally:
        wire.close_all((tree, user_namespace))


def _not_mapped(why: str, number: int | None) -> CreateFailed:
    return CreateFailed(f"mapping the owners of a mount: {why}", step="bind", errno=number or 0)


def listener_point(spec: Spec, state: State, pid: int) -> Points:
    """The action for a filter that asks somebody, of the process ``pid`` in a container of ``state``."""

    def listener(descriptor: int) -> None:
        import attrs

        from ociworks.runtime.seccomp.handover import hand_over

        filtered = (spec.linux or Linux()).seccomp
        if filtered is not None:
            told = attrs.evolve(state, oci_version=spec.oci_version, annotations=spec.annotations)
            hand_over(filtered, told, pid, descriptor)

    return {wire.LISTENER: listener}
