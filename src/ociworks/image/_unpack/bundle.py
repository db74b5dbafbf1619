"""An image becomes a bundle: a private directory with ``rootfs`` and ``config.json`` (runtime-spec bundle.md)."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

from attrs import evolve

from ociworks._linux.path import remove_tree_at
from ociworks.errors import ImageConfigError, ImageError, quote
from ociworks.image._unpack.directories import open_directory
from ociworks.image._unpack.layers import unpack_layers
from ociworks.image._unpack.policy import Mappings, UnpackOptions, is_rootless
from ociworks.image._unpack.staging import Staging
from ociworks.image.tar.limits import DEFAULT_LIMITS

if TYPE_CHECKING:
    from ociworks.image._unpack.policy import DevicePolicy
    from ociworks.image.bundle import RuntimeOptions
    from ociworks.image.progress import ProgressCallback
    from ociworks.image.tar.limits import Limits
    from ociworks.image.types import Image
    from ociworks.spec import Bundle
    from ociworks.spec.image import ImageConfiguration
    from ociworks.spec.runtime import Spec

__all__ = ["remove_bundle", "unpack"]

_logger = logging.getLogger(__name__)

_ROOTFS: Final = "rootfs"
_CONFIG: Final = "config.json"
_PASSABLE: Final = 0o710
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def unpack(
    img: Image,
    path: str | os.PathLike[str],
    *,
    rootless: bool | None = None,
    devices: DevicePolicy = "skip",
    limits: Limits = DEFAULT_LIMITS,
    progress: ProgressCallback | None = None,
    mappings: Mappings | None = None,
) -> Bundle:
    """Unpack ``img`` to a bundle at ``path``: its root filesystem, and the default configuration to run it.

    ``path`` must not exist (or be an empty directory, mode 0700, of the caller); it appears when everything was
    verified and unpacked, in one step, and only its owner can enter it. ``rootless`` (default: whether the caller is
    not root) leaves all files to the caller and writes a configuration with a user namespace. ``devices`` says what
    becomes of device nodes in layers. ``progress`` gets events of phase ``start``, ``transfer`` and ``done`` for each
    layer, in compressed bytes; when it raises, everything is removed and its exception reaches the caller.
    An image without a program, or with a user that cannot be had here, gives a configuration without a process, and
    a warning in the log; :func:`ociworks.api.configure` gives it one.
    ``mappings`` (as root) is for a container in a user namespace: files get the owners that it shows as theirs, the
    configuration gets the namespace, and the group of its root may pass through the bundle's directory.

    Raises :class:`ociworks.errors.LayerError` (``TarError``, ``CompressionError``),
    :class:`ociworks.errors.ContentError`, :class:`ociworks.errors.LimitExceeded`,
    :class:`ociworks.errors.ImageConfigError`, :class:`ociworks.errors.BundleExists` and
    :class:`ociworks.errors.NotSupported`; after any of them nothing is left.
    """
    from ociworks.spec import Bundle

    mapped = mappings or Mappings()
    options = UnpackOptions(
        rootless=is_rootless(rootless),
        devices=devices,
        limits=limits,
        uid_mappings=mapped.uids,
        gid_mappings=mapped.gids,
    )
    _check_layers(img)
    with Staging(path) as staging:
        os.mkdir(_ROOTFS, 0o755, dir_fd=staging.fd)
        rootfd, _ = open_directory(staging.fd, os.fsencode(_ROOTFS))
        try:
            os.fchmod(rootfd, 0o755)
            if mappings is not None:
                os.fchown(rootfd, *options.host_owner(0, 0))
            unpack_layers(img.layers, rootfd, options, progress=progress)
            config = _configuration(img, rootfd, options)
        finally:
            os.close(rootfd)
        _write_new(staging.fd, _CONFIG, config)
        if mappings is not None:
            os.fchown(staging.fd, -1, options.host_owner(0, 0)[1])
            os.fchmod(staging.fd, _PASSABLE)
        staging.publish()
        return Bundle.load(staging.path)


def remove_bundle(path: str | os.PathLike[str], *, missing_ok: bool = False) -> None:
    """Remove a bundle and everything in it; links are not followed, and a mount in it ends the removal (``EXDEV``).

    Raises :class:`ociworks.errors.ImageError` when ``path`` is not a directory with a ``config.json`` or ``rootfs``,
    ``FileNotFoundError`` when it does not exist and ``missing_ok`` is false, and ``OSError``.
    """
    parent, name = os.path.split(os.path.abspath(path))
    parentfd = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _is_bundle(parentfd, name, missing_ok=missing_ok):
            remove_tree_at(parentfd, name, missing_ok=missing_ok)
    finally:
        os.close(parentfd)


def _is_bundle(parentfd: int, name: str, *, missing_ok: bool) -> bool:
    """Look before removing: a wrong path must not cost a home directory."""
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=parentfd)
    except FileNotFoundError:
        if missing_ok:
            return False
        raise
    except NotADirectoryError as error:
        raise ImageError(f"{quote(name)} is not a directory, so not a bundle") from error
    try:
        found = set(os.listdir(fd))
    finally:
        os.close(fd)
    if not found & {_ROOTFS, _CONFIG}:
        raise ImageError(
            f"{quote(name)} has neither config.json nor rootfs: not removing what is not a bundle"
        )
    return True


def _check_layers(img: Image) -> None:
    diff_ids, layers = len(img.config.rootfs.diff_ids), len(img.manifest.layers)
    if diff_ids != layers:
        raise ImageConfigError(
            f"image {img.digest}: its manifest has {layers} layers, its configuration {diff_ids} diff IDs"
        )


def _configuration(img: Image, rootfd: int, options: UnpackOptions) -> bytes:
    from ociworks import spec
    from ociworks.image.bundle import RuntimeOptions, runtime_spec

    wanted = RuntimeOptions(
        rootless=options.rootless, uid_mappings=options.uid_mappings, gid_mappings=options.gid_mappings
    )
    try:
        return spec.to_json(runtime_spec(img.config, wanted, rootfd=rootfd))
    except ImageConfigError as error:
        _logger.warning("the bundle of %s has no process in its config.json: %s", img.digest, error)
        return spec.to_json(_without_process(img.config, wanted))


def _without_process(config: ImageConfiguration, wanted: RuntimeOptions) -> Spec:
    """All but what the image wants to run: its files are worth having without that."""
    from ociworks.image.bundle import runtime_spec

    plain = runtime_spec(evolve(config, config=None), evolve(wanted, args=("none",), user="0:0"))
    return evolve(plain, process=None)


def _write_new(dirfd: int, name: str, data: bytes) -> None:
    fd = os.open(name, _CREATE, 0o600, dir_fd=dirfd)
    with open(fd, "wb") as file:  # trusted: a descriptor, of a file that has just been created
        os.fchmod(fd, 0o600)  # a umask may have taken more away
        file.write(data)
