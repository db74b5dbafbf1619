"""AppArmor profiles and SELinux labels.

=============================  =======================================  ============================
AppArmor                       kernel with AppArmor                     kernel without
=============================  =======================================  ============================
privileged                     none                                     none
none chosen, RuntimeDefault    ``apparmor_default_profile``, if loaded  none
Unconfined                     ``unconfined``                           none
Localhost                      that profile                             NotSupported
=============================  =======================================  ============================

SELinux parts are judged always, and become labels where the kernel has SELinux; elsewhere there is nothing to label.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from ociworks.cri.container.translate.profile import Profile, chosen_profile
from ociworks.cri.container.translate.request import Request
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, NotSupported, quote
from ociworks.runtime.plan.labels import apparmor_enabled, selinux_enabled

__all__ = ["SELinuxLabels", "apparmor_profile", "selinux_labels"]

_LOADED: Final = "/sys/kernel/security/apparmor/profiles"
_MAX_PROFILES: Final = 16 << 20
_PREFIX: Final = "localhost/"
_PROFILE: Final = re.compile(r"[!#-&(-~]{1,255}", re.ASCII)
_PART: Final = re.compile(r"[A-Za-z0-9_.-]{0,255}", re.ASCII)
_LEVEL: Final = re.compile(r"[A-Za-z0-9_.,:-]{0,255}", re.ASCII)
_OLD: Final = {
    "runtime/default": Profile(kind="default"),
    "unconfined": Profile(kind="unconfined"),
}


@frozen(kw_only=True)
class SELinuxLabels:
    """Of a container's process and of its files; empty without SELinux."""

    process: str = ""
    mount: str = ""


def apparmor_profile(request: Request) -> str | None:
    """The table above. InvalidRequest for what is no choice, NotSupported for what would not be in force."""
    security = request.security
    given = security.apparmor if security.HasField("apparmor") else None
    profile = chosen_profile("apparmor", _without_prefix(given), security.apparmor_profile, _OLD)
    if profile.name and _PROFILE.fullmatch(profile.name) is None:
        raise InvalidRequest(
            f"apparmor: expected visible characters without quotes, got {quote(profile.name)}"
        )
    if request.privileged:
        return None
    if not apparmor_enabled():
        if profile.kind == "localhost":
            raise NotSupported(
                f"apparmor: this kernel has no AppArmor, so the profile {quote(profile.name)} would not be in force"
            )
        return None
    if profile.kind == "unconfined":
        return "unconfined"
    if profile.kind == "localhost":
        return profile.name
    default = request.server.apparmor_default_profile
    return default if _is_loaded(default) else None


def selinux_labels(request: Request) -> SELinuxLabels:
    """The labels. InvalidRequest for parts that are none."""
    options = request.security.selinux_options
    _check(options)
    if request.privileged or not selinux_enabled():
        return SELinuxLabels()
    level = f":{options.level}" if options.level else ""
    user, role, kind = options.user or "system_u", options.role or "system_r", options.type or "container_t"
    return SELinuxLabels(
        process=f"{user}:{role}:{kind}{level}", mount=f"{user}:object_r:container_file_t{level}"
    )


def _check(options: api.SELinuxOption) -> None:
    for name in ("user", "role", "type"):
        if _PART.fullmatch(getattr(options, name)) is None:
            raise InvalidRequest(
                f"selinux_options.{name}: expected letters, digits, '_', '.' and '-', "
                f"got {quote(getattr(options, name))}"
            )
    if _LEVEL.fullmatch(options.level) is None:
        raise InvalidRequest(
            f"selinux_options.level: expected a level like s0:c1,c2, got {quote(options.level)}"
        )


def _without_prefix(given: api.SecurityProfile | None) -> api.SecurityProfile | None:
    """Names in the field of today may be written as in the deprecated one: ``localhost/NAME``."""
    if given is None or not given.localhost_ref.startswith(_PREFIX):
        return given
    return api.SecurityProfile(
        profile_type=given.profile_type, localhost_ref=given.localhost_ref.removeprefix(_PREFIX)
    )


def _is_loaded(profile: str) -> bool:
    try:
        with open(_LOADED, "rb") as file:
            lines = file.read(_MAX_PROFILES).splitlines()
    except OSError:
        return False
    return profile.encode() in (line.rpartition(b" (")[0] for line in lines)
