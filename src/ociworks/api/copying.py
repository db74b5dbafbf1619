"""Copy images between any two places."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from ociworks.api.options import CopyOptions
from ociworks.api.places import From, Places, To

if TYPE_CHECKING:
    from ociworks.image.copy import Copied, PlatformChoice
    from ociworks.image.progress import ProgressCallback
    from ociworks.image.remote import Client

__all__ = ["copy"]


def copy(
    src: From,
    dst: To,
    *,
    platforms: PlatformChoice = None,
    referrers: bool = False,
    progress: ProgressCallback | None = None,
    client: Client | None = None,
    options: CopyOptions | None = None,
) -> Copied:
    """Copy an image from one place to another; only what is missing there travels, every byte verified.

    Places are text as in :mod:`ociworks.image.location` (``docker://reg/app:1`` or a plain reference,
    ``oci:DIR:TAG``, ``oci-archive:FILE``, ``docker-archive:FILE:REF``, ``store:NAME``), references, open layouts
    (as source the only image in it, as destination without a tag), and as sources also open archives and images.

    ``platforms`` is one (None: this host's), several (an index with fewer entries), or ``ociworks.ALL`` (the index
    unchanged). ``referrers`` copies signatures, SBOMs and whatever else is attached, before the name moves. Digests
    are kept, except in a docker-archive, which has no manifests. An archive is written anew and replaces the file. A
    directory is made a layout when it is empty or missing.

    Raises :class:`~ociworks.errors.InvalidLocation`, :class:`~ociworks.errors.InvalidReference`,
    :class:`~ociworks.errors.ImageNotFound`, :class:`~ociworks.errors.RegistryError`,
    :class:`~ociworks.errors.LayoutError`, :class:`~ociworks.errors.ArchiveError`,
    :class:`~ociworks.errors.ContentError`, :class:`~ociworks.errors.VerificationFailed` (by the policy in ``options``),
    :class:`~ociworks.errors.NotSupported` and ``OSError``; the destination then has no new name.
    """
    from ociworks.image.copy import transfer

    chosen = options or CopyOptions()
    with ExitStack() as stack:
        places = Places(stack, client, chosen, progress)
        source = places.source(src)
        sink = places.sink(dst)
        return transfer(
            source,
            sink,
            platforms=platforms,
            referrers=referrers,
            media_types=chosen.media_types,
            policy=chosen.policy,
        )
