"""Copy every tag of a repository to another one, with all platforms, signatures, SBOMs and attestations.

::

    python mirror.py registry.example/app mirror.example/app

Run it again at any time: what is there already does not travel. Logins, mirrors and certificates are this host's.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import ociworks
from ociworks import api
from ociworks.image.remote import Client

ATTACHED = re.compile(r"sha256-[0-9a-f]{64}(\.\w+)?")
"""Tags by which signatures and lists of referrers are found; they come along with what they are about."""


def mirror(source: str, target: str, registry: Client) -> Iterator[tuple[str, int]]:
    """Copy tag by tag; gives each tag, and how many referrers came along with it."""
    for tag in registry.tags(source):
        if ATTACHED.fullmatch(tag):
            continue
        copied = ociworks.copy(
            f"{source}:{tag}", f"{target}:{tag}", platforms=ociworks.ALL, referrers=True, client=registry
        )
        yield tag, len(copied.referrers)


def main(source: str, target: str) -> None:
    """Say what was copied."""
    with api.host_client() as registry:
        for tag, referrers in mirror(source, target, registry):
            print(f"{tag}: copied, with {referrers} referrers")


if __name__ == "__main__":
    main(*sys.argv[1:])
