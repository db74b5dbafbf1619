"""All concerns together: one request, one configuration."""

from __future__ import annotations

from typing import Final

from attrs import evolve, frozen

from ociworks.cri.container.translate.annotations import runtime_annotations
from ociworks.cri.container.translate.cdi import inject
from ociworks.cri.container.translate.devices import devices
from ociworks.cri.container.translate.filters import seccomp
from ociworks.cri.container.translate.identity import user_of
from ociworks.cri.container.translate.labels import apparmor_profile, selinux_labels
from ociworks.cri.container.translate.limits import oom_score, resources
from ociworks.cri.container.translate.mounts import mounts, root_propagation
from ociworks.cri.container.translate.namespaces import mappings, namespaces
from ociworks.cri.container.translate.request import Request
from ociworks.cri.container.translate.rights import capabilities
from ociworks.cri.container.translate.signals import stop_signal
from ociworks.cri.proto import runtime_v1_pb2 as api
from ociworks.errors import InvalidRequest, quote
from ociworks.image.bundle import RuntimeOptions, runtime_spec
from ociworks.spec.defaults import MASKED_PATHS, READONLY_PATHS
from ociworks.spec.image import Config
from ociworks.spec.runtime import Linux, Process, Root, Spec, User

__all__ = ["Translated", "cgroups_path", "translate"]

_MOST: Final = 10_000
_SCOPE: Final = "cri-ociworks"
"""What the names of systemd's scopes begin with."""


@frozen(kw_only=True)
class Translated:
    """A configuration, and what a status tells of it."""

    spec: Spec
    stop_signal: str

    @property
    def user(self) -> User:
        """Who it runs as."""
        return self.spec.process.user if self.spec.process is not None else User()


def translate(request: Request) -> Translated:
    """The container's configuration. InvalidRequest, ImageConfigError, NotSupported when there can be none."""
    _check_counts(request.config)
    linux = _linux(request)
    spec = Spec(
        oci_version="1.1.0",
        root=Root(path=request.rootfs, readonly=True if request.security.readonly_rootfs else None),
        process=_process(request),
        mounts=mounts(request),
        annotations=runtime_annotations(request),
        linux=evolve(linux, seccomp=seccomp(request, capabilities(request).bounding)),
    )
    names = tuple(device.name for device in request.config.CDI_devices)
    if names:
        spec = inject(spec, names, request.server.cdi_spec_dirs)
    return Translated(spec=spec, stop_signal=stop_signal(request.config, request.image))


def cgroups_path(request: Request) -> str:
    """Its control group below its pod's, in the words of the driver."""
    if request.server.cgroup_driver == "systemd":
        return f"{request.cgroup_parent.rpartition('/')[2]}:{_SCOPE}:{request.id}"
    return f"{request.cgroup_parent.rstrip('/')}/{request.id}"


def _process(request: Request) -> Process:
    config, security = request.config, request.security
    user = user_of(request)
    options = RuntimeOptions(
        args=tuple(config.args) if config.args else None,
        entrypoint=tuple(config.command) if config.command else None,
        env=_environment(request),
        cwd=config.working_dir or None,
        user=f"{user.uid}:{user.gid}",
        terminal=config.tty,
    )
    process = runtime_spec(request.image, options, rootfd=request.rootfd).process or Process(cwd="/")
    return evolve(
        process,
        user=user,
        capabilities=capabilities(request),
        rlimits=(),  # as this server has them: databases need more than a shell's
        no_new_privileges=security.no_new_privs or None,
        apparmor_profile=apparmor_profile(request),
        selinux_label=selinux_labels(request).process or None,
        oom_score_adj=oom_score(config.linux.resources, request.server),
    )


def _environment(request: Request) -> dict[str, str]:
    """The request's variables, and the pod's name for programs that look for it there."""
    given = {}
    image = {entry.partition("=")[0] for entry in (request.image.config or Config()).env}
    if request.pod.hostname and "HOSTNAME" not in image:
        given["HOSTNAME"] = request.pod.hostname
    for each in request.config.envs:
        if not each.key or "=" in each.key or "\0" in each.key:
            raise InvalidRequest(f"envs.key: expected a name without '=', got {quote(each.key)}")
        try:
            given[each.key] = each.value.decode()
        except UnicodeDecodeError:
            raise InvalidRequest(f"envs.value: {quote(each.key)}: expected UTF-8") from None
    return given


def _linux(request: Request) -> Linux:
    nodes, rules = devices(request)
    own = request.pod.linux.security_context.namespace_options.userns_options
    users, groups = mappings(own) if request.joins_user_namespace else ((), ())
    masked, readonly = _protected(request)
    limits = resources(request.config.linux.resources, request.server, foreign=request.foreign)
    return Linux(
        namespaces=namespaces(request),
        uid_mappings=users,
        gid_mappings=groups,
        devices=nodes,
        resources=evolve(limits, devices=rules),
        cgroups_path=cgroups_path(request),
        rootfs_propagation=root_propagation(request.sources),
        masked_paths=masked,
        readonly_paths=readonly,
        mount_label=selinux_labels(request).mount or None,
    )


def _protected(request: Request) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Masked and read-only paths: as the request lists them, none when privileged, the default ones without it."""
    if not request.config.linux.HasField("security_context"):
        return MASKED_PATHS, READONLY_PATHS
    if request.privileged:
        return (), ()
    masked, readonly = tuple(request.security.masked_paths), tuple(request.security.readonly_paths)
    for name, paths in (("masked_paths", masked), ("readonly_paths", readonly)):
        for path in paths:
            if not path.startswith("/") or ".." in path.split("/"):
                raise InvalidRequest(f"{name}: expected absolute paths, got {quote(path)}")
    return masked, readonly


def _check_counts(config: api.ContainerConfig) -> None:
    for name in ("command", "args", "envs", "mounts", "devices", "CDI_devices", "annotations", "labels"):
        if len(getattr(config, name)) > _MOST:
            raise InvalidRequest(f"{name}: expected at most {_MOST}")
