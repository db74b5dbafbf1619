"""Image configuration → runtime configuration (image-spec conversion.md).

An image proposes, the caller disposes: what the image says about its process is checked and becomes the process;
everything that protects comes from :mod:`ociworks.spec.defaults` and is out of an image's reach.

=====================  ==========================================================================
image                  container
=====================  ==========================================================================
Entrypoint, Cmd        process.args; the caller's ``args`` stand in for Cmd
Env                    process.env; of equal names the last counts, the caller's always win
WorkingDir             process.cwd; ``..`` is resolved by name, places below /proc are refused
User                   process.user, by the image's database (:mod:`ociworks.image.users`)
Labels                 annotations, without the names that runtimes listen to
os, architecture …     annotations ``org.opencontainers.image.*``, unless a label has the name
StopSignal             annotation ``org.opencontainers.image.stopSignal``, by a closed table
ExposedPorts           annotation ``org.opencontainers.image.exposedPorts``
Volumes                nothing: the root filesystem is private to the bundle, and writable
=====================  ==========================================================================
"""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from ociworks.errors import ImageConfigError, LimitExceeded, SpecError, quote
from ociworks.image.users import lookup_user
from ociworks.spec.defaults import DEVICE_RULES, PATH, default_spec
from ociworks.spec.frozen import FrozenDict
from ociworks.spec.image import Config
from ociworks.spec.runtime import IDMapping, Linux, Namespace, Process, Resources
from ociworks.spec.signals import signal_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ociworks.image.users import ResolvedUser
    from ociworks.spec.image import ImageConfiguration
    from ociworks.spec.runtime import Spec, User

__all__ = ["RESERVED_PREFIXES", "RuntimeOptions", "is_reserved", "runtime_spec"]

_log = logging.getLogger(__name__)

RESERVED_PREFIXES: Final = (
    "cdi.k8s.io",
    "io.container",
    "io.containerd",
    "io.kubernetes",
    "io.kubernetes.cri",
    "io.kubernetes.cri-o",
    "io.podman",
    "ociworks",
    "io.ociworks",
    "org.criu",
    "org.systemd.property",
    "run.oci",
)
"""Names that some runtime takes orders from; as a whole, or followed by a dot or slash, in any case."""

_ANNOTATION: Final = "org.opencontainers.image."
_MAX_ITEMS: Final = 10_000
_MAX_TEXT: Final = 1 << 20
_MAX_STRING: Final = 128 * 1024 - 1
_MAX_EXECVE: Final = 2 << 20
_MAX_CWD: Final = 4095
_MAGIC: Final = ("/proc/", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr")


@frozen(kw_only=True)
class RuntimeOptions:
    """What the caller wants of the container. None leaves it to the image or the default profile."""

    args: tuple[str, ...] | None = None
    """The arguments, instead of the image's Cmd; behind the entrypoint."""
    entrypoint: tuple[str, ...] | None = None
    """Instead of the image's; empty for none. The image's Cmd goes with its entrypoint."""
    env: Mapping[str, str] = FrozenDict()
    """Wins over the image's."""
    cwd: str | None = None
    user: str | None = None
    """``user[:group]``, looked up like the image's."""
    terminal: bool = False
    hostname: str | None = None
    resources: Resources | None = None
    """The default device rules come before its own."""
    readonly: bool = False
    """Whether the root filesystem is read-only."""
    annotations: Mapping[str, str] = FrozenDict()
    """Win over the image's; nothing is reserved to the caller."""
    rootless: bool = False
    """The rootless profile; its single mapping shows the caller as root, so the user must be 0."""
    rootfs: str = "rootfs"
    """Absolute, or relative to the bundle."""
    uid_mappings: tuple[IDMapping, ...] = ()
    """As root: a user namespace with these mappings, and those of groups; none: no user namespace."""
    gid_mappings: tuple[IDMapping, ...] = ()


def runtime_spec(
    config: ImageConfiguration, options: RuntimeOptions | None = None, *, rootfd: int | None = None
) -> Spec:
    """The configuration of a container of this image. ``rootfd`` is its unpacked root filesystem, for names of users.

    Raises :class:`ociworks.errors.ImageConfigError` for values that cannot become a container's, and
    :class:`ociworks.errors.LimitExceeded`.
    """
    options = options or RuntimeOptions()
    image = config.config or Config()
    _check_counts(image)
    base = default_spec(rootless=options.rootless, rootfs=options.rootfs, readonly=options.readonly)
    found = lookup_user(rootfd, image.user if options.user is None else options.user)
    process = _process(base.process or Process(cwd="/"), image, options, found)
    _check_size(process)
    linux = base.linux
    if options.resources is not None and linux is not None:
        linux = evolve(linux, resources=_resources(options))
    if options.uid_mappings and linux is not None:
        linux = _with_user_namespace(linux, options)
    return evolve(
        base,
        process=process,
        hostname=options.hostname,
        linux=linux,
        annotations=FrozenDict(_annotations(config, image, options)),
    )


def _with_user_namespace(linux: Linux, options: RuntimeOptions) -> Linux:
    return evolve(
        linux,
        namespaces=(*linux.namespaces, Namespace(type="user")),
        uid_mappings=options.uid_mappings,
        gid_mappings=options.gid_mappings,
    )


def is_reserved(name: str) -> bool:
    """Whether a label of this name must not reach a runtime's annotations."""
    lowered = name.lower()
    return any(
        lowered == prefix or lowered.startswith((f"{prefix}.", f"{prefix}/")) for prefix in RESERVED_PREFIXES
    )


def _process(base: Process, image: Config, options: RuntimeOptions, found: ResolvedUser) -> Process:
    return evolve(
        base,
        terminal=True if options.terminal else None,
        user=_user(found.user, options),
        args=_args(image, options),
        env=_environment(image, options, found.home),
        cwd=_directory(options.cwd or image.working_dir or "/"),
    )


def _user(user: User, options: RuntimeOptions) -> User:
    if not options.rootless:
        return user
    if user.uid or user.gid:
        raise ImageConfigError(
            f"user {user.uid}:{user.gid} is not in the rootless mapping, which has only 0: use user '0:0', or be root"
        )
    return evolve(user, additional_gids=())  # a single-identity user namespace cannot set groups


def _args(image: Config, options: RuntimeOptions) -> tuple[str, ...]:
    entrypoint = image.entrypoint if options.entrypoint is None else options.entrypoint
    own_command = image.cmd if options.entrypoint is None else ()
    args = entrypoint + (own_command if options.args is None else options.args)
    if not args or not args[0]:
        raise ImageConfigError(
            "no program to run: the image has neither Entrypoint nor Cmd; name one in args"
        )
    for arg in args:
        _check_string(arg, "an argument")
    return args


def _environment(image: Config, options: RuntimeOptions, home: str | None) -> tuple[str, ...]:
    merged = {"PATH": PATH}
    if home is not None:
        merged["HOME"] = home
    if options.terminal:
        merged["TERM"] = "xterm"
    for entry in image.env:
        name, equals, value = entry.partition("=")
        if not equals or not name:
            raise ImageConfigError(f"Env: expected NAME=value, found {quote(entry)}")
        merged[name] = value
    for name, value in options.env.items():
        if not name or "=" in name:
            raise ImageConfigError(f"environment: expected a name without '=', found {quote(name)}")
        merged[name] = value
    entries = tuple(f"{name}={value}" for name, value in merged.items())
    for entry in entries:
        _check_string(entry, "an environment entry")
    return entries


def _directory(text: str) -> str:
    """Absolute and plain; relative ones start at the root, ``..`` is resolved by name and ends there."""
    _check_string(text, "WorkingDir")
    path = posixpath.normpath("//" + text).replace("//", "/", 1)
    if len(path.encode("utf-8", "surrogateescape")) > _MAX_CWD:
        raise ImageConfigError(f"WorkingDir: expected at most {_MAX_CWD} bytes, found {quote(text)}")
    if path.startswith(_MAGIC):
        raise ImageConfigError(
            f"WorkingDir {quote(text)} leads through the kernel's links to other processes"
        )
    return path


def _resources(options: RuntimeOptions) -> Resources | None:
    if options.resources is None or options.rootless:
        return options.resources
    return evolve(options.resources, devices=DEVICE_RULES + options.resources.devices)


def _annotations(config: ImageConfiguration, image: Config, options: RuntimeOptions) -> dict[str, str]:
    found = {_ANNOTATION + name: value for name, value in _implied(config, image) if value}
    for name, value in image.labels.items():
        if is_reserved(name):
            _log.warning("image label %s is reserved to runtimes: dropped", quote(name))
        elif name:
            found[name] = value
    found.update(options.annotations)
    return found


def _implied(config: ImageConfiguration, image: Config) -> Iterator[tuple[str, str | None]]:
    """conversion.md, Annotation Fields and Optional Fields."""
    yield "os", config.os
    yield "architecture", config.architecture
    yield "variant", config.variant
    yield "os.version", config.os_version
    yield "os.features", ",".join(config.os_features)
    yield "author", config.author
    yield "created", config.created
    yield "stopSignal", _stop_signal(image)
    yield "exposedPorts", ",".join(image.exposed_ports)


def _stop_signal(image: Config) -> str | None:
    if not image.stop_signal:
        return None
    try:
        signal_number(image.stop_signal)
    except SpecError as error:
        raise ImageConfigError(f"StopSignal: {error}") from error
    return image.stop_signal


def _check_counts(image: Config) -> None:
    for what, items in (
        ("ExposedPorts", image.exposed_ports),
        ("Volumes", image.volumes),
        ("Labels", tuple(image.labels)),
        ("Env", image.env),
    ):
        if len(items) > _MAX_ITEMS:
            raise LimitExceeded(f"members of {what}", "items", _MAX_ITEMS)
    if _size((*image.labels, *image.labels.values())) > _MAX_TEXT:
        raise LimitExceeded("bytes of Labels", "text", _MAX_TEXT)
    if _size(image.exposed_ports) > _MAX_TEXT:
        raise LimitExceeded("bytes of ExposedPorts", "text", _MAX_TEXT)


def _check_string(text: str, what: str) -> None:
    if "\0" in text:
        raise ImageConfigError(f"NUL in {what}: {quote(text)}")
    if _size((text,)) > _MAX_STRING:
        raise ImageConfigError(f"{what} of {_size((text,))} bytes: the kernel takes {_MAX_STRING}")


def _check_size(process: Process) -> None:
    """execve(2) takes a quarter of the stack limit; each string costs a pointer and its NUL as well."""
    strings = (*process.args, *process.env)
    total = _size(strings) + 9 * len(strings)
    if total > _MAX_EXECVE - 4096:
        raise ImageConfigError(
            f"arguments and environment of {total} bytes: the kernel takes {_MAX_EXECVE - 4096}"
        )


def _size(texts: Iterable[str]) -> int:
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
