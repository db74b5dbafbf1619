"""Run a command in a container of an image, as :func:`subprocess.run` runs one on this machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve

from ociworks.api.images import pull, stored
from ociworks.api.options import RunOptions

if TYPE_CHECKING:
    from ociworks.image import Image, Reference, RuntimeOptions
    from ociworks.runtime import CompletedContainer, Runtime
    from ociworks.spec import Bundle

__all__ = ["configure", "prepare", "run"]


def run(  # noqa: PLR0913 - the keywords of subprocess.run
    img: Image | Reference | str,
    args: Sequence[str] | None = None,
    *,
    capture_output: bool = False,
    input: bytes | None = None,
    timeout: float | None = None,
    check: bool = False,
    env: Mapping[str, str] | None = None,
    options: RunOptions | None = None,
) -> CompletedContainer:
    """Run ``args`` (None: the image's own command) in a new container of ``img``, and remove the container.

    A name is looked up in the default store and pulled when it is not there. The container is unpacked to a private
    temporary directory, has its own namespaces, the default profile of capabilities, seccomp and masked paths, and no
    network. As an ordinary user it runs in a user namespace.

    ``timeout`` is in seconds. ``env`` adds variables to ``options.env``. Nothing stays behind, whatever happens.

    Raises what :func:`ociworks.pull` raises for a name, and :class:`~ociworks.errors.LayerError`,
    :class:`~ociworks.errors.InvalidSpec`, :class:`~ociworks.errors.CommandNotFound`,
    :class:`~ociworks.errors.ContainerTimeout` (with the output so far), :class:`~ociworks.errors.CommandFailed` (with
    ``check``), :class:`~ociworks.errors.NotSupported` and other :class:`~ociworks.errors.ContainerError`.
    """
    chosen = options or RunOptions()
    if env:
        chosen = evolve(chosen, env={**chosen.env, **env})
    with prepare(img, args, chosen) as (runtime, bundle):
        return runtime.run(bundle, capture_output=capture_output, input=input, timeout=timeout, check=check)


@contextmanager
def prepare(
    img: Image | Reference | str, args: Sequence[str] | None = None, options: RunOptions | None = None
) -> Iterator[tuple[Runtime, Bundle]]:
    """A runtime and an unpacked, configured bundle, for ``runtime.create`` or ``runtime.run``; removed at the end.

    The bundle lies in a directory that the runtime's helper removes even when this process is killed. Raises what
    :func:`run` raises before a container exists.
    """
    from ociworks.runtime import Runtime

    image = _image(img)
    with Runtime() as runtime, runtime.scratch(_roomy()) as directory:
        yield runtime, _unpacked(image, Path(directory, "bundle"), _options(args, options))


def _roomy() -> str:
    """Where to unpack: on disk, since a state directory and /tmp are often memory; TMPDIR decides if it is set."""
    chosen = os.environ.get("TMPDIR", "/var/tmp")  # noqa: S108 - the directory made in it is private and unguessable
    return chosen if os.access(chosen, os.W_OK) else tempfile.gettempdir()


def _unpacked(image: Image, directory: Path, options: RuntimeOptions) -> Bundle:
    """The image's bundle, configured once: an image without a command is none without these options."""
    from ociworks.image import runtime_spec, unpack_layers
    from ociworks.image._unpack import UnpackOptions
    from ociworks.spec import Bundle

    directory.mkdir(mode=0o700)
    (directory / "rootfs").mkdir()
    with _opened(directory / "rootfs") as rootfd:
        os.fchmod(rootfd, 0o755)  # whatever the umask is: users in the container pass through it
        unpack_layers(image.layers, rootfd, UnpackOptions(rootless=options.rootless))
        return Bundle.create(directory, runtime_spec(image.config, options, rootfd=rootfd))


def configure(
    bundle: Bundle, img: Image, args: Sequence[str] | None = None, options: RunOptions | None = None
) -> Bundle:
    """The bundle of an unpacked image with another command and other options; its config.json is written anew.

    ``args`` stand in for the image's Cmd. Raises :class:`~ociworks.errors.ImageConfigError` for a user that the image
    does not have and for other values that cannot become a container's.
    """
    from ociworks.image import runtime_spec

    with _opened(bundle.rootfs) as rootfd:
        changed = bundle.replace(runtime_spec(img.config, _options(args, options), rootfd=rootfd))
    changed.save()
    return changed


def _options(args: Sequence[str] | None, options: RunOptions | None) -> RuntimeOptions:
    command = None if args is None else tuple(args)
    return (options or RunOptions()).for_image(command, rootless=os.geteuid() != 0)


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _image(img: Image | Reference | str) -> Image:
    from ociworks.image import Reference

    if isinstance(img, str | Reference):
        return stored(img) or pull(img)
    return img
