"""The images of a node: pulled, listed, removed, and given to containers as root filesystems.

::

    pull ──> registry ──> policy? ──> layout (config.root/images) ──> snapshots (config.root/snapshots) ──> names
    root ──> layers of a snapshot, held  +  containers/<id>/{upper,work}  ──> an overlay in its own namespace

An image is known by the digest of its configuration, everywhere. Its names are the tags of the layout: full references,
by tag (``docker.io/library/busybox:1.36``) and by the digest that the registry has (``…/busybox@sha256:…``). Nothing
else records images, so other tools may put some there, and a restart finds all of them.

- ``images``: Images, what the servicer and the other parts call
- ``local``: which images are here, as values; ``messages``: those as messages
- ``pulls``: bringing one here, once for all who ask; ``credentials``, ``registries``: with which logins, from where
- ``roots``: what containers hold of layers, and their own directories; ``trash``: what they leave
- ``mounts``: where the host has to mount for them; ``namespaces``: for pods with users of their own
- ``volumes``: parts of images for containers
- ``disk``: what all that takes
"""

from __future__ import annotations

from ociworks.cri.images.images import Images
from ociworks.cri.images.local import LocalImage
from ociworks.cri.images.namespaces import UserNamespace
from ociworks.cri.images.roots import ContainerRoot

__all__ = ["ContainerRoot", "Images", "LocalImage", "UserNamespace"]
