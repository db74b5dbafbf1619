"""Put every image of a repository that sits on an old base on a new one, without building or downloading any of them.

::

    python rebase_all.py registry.example/app registry.example/base:1 registry.example/base:2 -patched

Each tag gets a second one with the suffix. Layers that the registry has are mounted there, so only manifests and
configurations travel.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from ociworks import api
from ociworks.errors import NotBasedOn
from ociworks.image import Image, ImageIndex, mutate
from ociworks.image.remote import Client


def rebase_all(repository: str, old: str, new: str, suffix: str, registry: Client) -> Iterator[str]:
    """Rebase tag by tag; gives the new tags. Images that sit on something else are left alone."""
    for tag in list(registry.tags(repository)):
        if tag.endswith(suffix) or tag.startswith("sha256-"):
            continue
        try:
            rebased = lifted(registry.get(f"{repository}:{tag}"), old, new, registry)
        except NotBasedOn:
            continue
        registry.push(rebased, f"{repository}:{tag}{suffix}", mount_from=new)
        yield tag + suffix


def lifted(found: Image | ImageIndex, old: str, new: str, registry: Client) -> Image | ImageIndex:
    """An image on the new base, or an index with each of its images on it."""
    if isinstance(found, ImageIndex):
        return mutate.each(found, lambda image: one(image, old, new, registry))
    return one(found, old, new, registry)


def one(image: Image, old: str, new: str, registry: Client) -> Image:
    """The bases are those for the image's own platform."""
    platform = image.config.platform
    return mutate.rebase(
        image,
        old_base=registry.image(old, platform),
        new_base=registry.image(new, platform),
        base_name=new,
    )


def main(repository: str, old: str, new: str, suffix: str) -> None:
    """Say which tags are new."""
    with api.host_client() as registry:
        for tag in rebase_all(repository, old, new, suffix, registry):
            print(f"{repository}:{tag}")


if __name__ == "__main__":
    main(*sys.argv[1:])
