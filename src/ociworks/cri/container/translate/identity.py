"""Who a container runs as (CR-11).

===============================  =====================================================================
request                          user
===============================  =====================================================================
nothing                          the image's, with the group that it names
run_as_user                      that number; its group by the image's ``/etc/passwd``, otherwise 0
run_as_username                  that name of the image's ``/etc/passwd``; digits are no name
both of them                     an error
run_as_group                     instead of the primary group; alone it is an error
supplemental_groups, Merge       those, and the groups that list the user in the image's ``/etc/group``
supplemental_groups, Strict      those only
===============================  =====================================================================
"""

from __future__ import annotations

from typing import Final

from ociworks.cri.container.translate.request import Request
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import ImageConfigError, InvalidRequest, quote
from ociworks.spec.image import Config
from ociworks.spec.runtime import User
from ociworks.spec.users import GroupPolicy, lookup_user

__all__ = ["user_of", "user_status"]

_MAX_ID: Final = 2**31 - 1
_MAX_GROUPS: Final = 65536


def user_of(request: Request) -> User:
    """The table above. InvalidRequest for contradictions, ImageConfigError for an image whose own user is none."""
    security = request.security
    text = _asked(security)
    policy = _policy(security.supplemental_groups_policy)
    groups = _groups(security)
    primary = (
        _number(security.run_as_group.value, "run_as_group") if security.HasField("run_as_group") else None
    )
    if primary is not None and text is None:
        raise InvalidRequest("run_as_group: expected run_as_user or run_as_username beside it")
    chosen = text if text is not None else (request.image.config or Config()).user
    try:
        found = lookup_user(request.rootfd, chosen, groups=groups, policy=policy, primary=primary)
    except ImageConfigError as error:
        if text is None:
            raise
        raise InvalidRequest(f"run_as_username: {error}") from error
    return found.user


def user_status(user: User) -> api.ContainerUser:
    """The same, as a status tells it."""
    linux = api.LinuxContainerUser(uid=user.uid, gid=user.gid, supplemental_groups=user.additional_gids)
    return api.ContainerUser(linux=linux)


def _asked(security: api.LinuxContainerSecurityContext) -> str | None:
    """The user of the request; None when it leaves that to the image."""
    name = security.run_as_username
    if security.HasField("run_as_user"):
        if name:
            raise InvalidRequest("run_as_user and run_as_username: expected one of them")
        return str(_number(security.run_as_user.value, "run_as_user"))
    if not name:
        return None
    if name.isdigit() or ":" in name:
        raise InvalidRequest(f"run_as_username: expected a name, got {quote(name)}")
    return name


def _policy(value: int) -> GroupPolicy:
    if value == api.SupplementalGroupsPolicy.Merge:
        return "merge"
    if value == api.SupplementalGroupsPolicy.Strict:
        return "strict"
    raise InvalidRequest(f"supplemental_groups_policy: unknown value {value}")


def _groups(security: api.LinuxContainerSecurityContext) -> tuple[int, ...]:
    if len(security.supplemental_groups) > _MAX_GROUPS:
        raise InvalidRequest(f"supplemental_groups: expected at most {_MAX_GROUPS}")
    return tuple(_number(group, "supplemental_groups") for group in security.supplemental_groups)


def _number(value: int, name: str) -> int:
    if not 0 <= value <= _MAX_ID:
        raise InvalidRequest(f"{name}: expected 0 to {_MAX_ID}, got {value}")
    return value
