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

    A name is looked up in the default store and pulled when it is not there. The layers are unpacked once, beside the
    default store, and the container's root is an overlay of them in its own mount namespace; where that cannot be, they
    are unpacked to a private temporary directory. The container has its own namespaces, the default profile of
    capabilities, seccomp and masked paths, and no network. As an ordinary user it runs in a user namespace.

    ``timeout`` is in seconds. ``env`` adds variables to ``options.env``. Nothing of the container stays behind,
    whatever happens.

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
    """A runtime and a configured bundle, for ``runtime.create`` or ``runtime.run``; removed at the end.

    The bundle, with what its container changes, lies in a directory that the runtime's helper removes even when this
    process is killed. One container at a time may run in it. Raises what :func:`run` raises before a container exists.
    """
    from ociworks.api._roots import rooted
    from ociworks.runtime import Runtime

    image, chosen = _image(img), _options(args, options)
    with (
        Runtime() as runtime,
        runtime.scratch(_roomy()) as directory,
        rooted(runtime, image, Path(directory), chosen) as bundle,
    ):
        yield runtime, bundle


def _roomy() -> str:
    """Where to unpack: on disk, since a state directory and /tmp are often memory; TMPDIR decides if it is set."""
    chosen = os.environ.get("TMPDIR", "/var/tmp")  # noqa: S108 - the directory made in it is private and unguessable
    return chosen if os.access(chosen, os.W_OK) else tempfile.gettempdir()


def configure(
    bundle: Bundle, img: Image, args: Sequence[str] | None = None, options: RunOptions | None = None
) -> Bundle:
    """The bundle of an unpacked image with another command and other options; its config.json is written anew.

    ``args`` stand in for the image's Cmd. Raises :class:`~ociworks.errors.ImageConfigError` for a user that the image
    does not have and for other values that cannot become a container's.
    """
    from ociworks.api._roots import opened
    from ociworks.image import runtime_spec

    with opened(bundle.rootfs) as rootfd:
        changed = bundle.replace(runtime_spec(img.config, _options(args, options), rootfd=rootfd))
    changed.save()
    return changed


def _options(args: Sequence[str] | None, options: RunOptions | None) -> RuntimeOptions:
    command = None if args is None else tuple(args)
    return (options or RunOptions()).for_image(command, rootless=os.geteuid() != 0)


def _image(img: Image | Reference | str) -> Image:
    from ociworks.image import Reference

    if isinstance(img, str | Reference):
        return stored(img) or pull(img)
    return img
