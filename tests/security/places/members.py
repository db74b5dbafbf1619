"""Archives of any members: an honest one to begin with."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import attrs

from ociworks.image.types import Image
from ociworks.spec import Digest, to_json
from ociworks.spec.image import Index, mediatypes

__all__ = ["HEX", "members_of", "tar"]

HEX = "a" * 64


def tar(path: Path, *members: tuple[str, bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w") as out:
        for name, content in members:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            if isinstance(content, bytes):
                info.size = len(content)
                out.addfile(info, io.BytesIO(content))
            else:
                out.addfile(info)
    return path


def members_of(image: Image, *, tag: str = "app") -> list[tuple[str, bytes | tarfile.TarInfo]]:
    """An honest oci-archive, to be made a hostile one."""
    named = attrs.evolve(image.descriptor, annotations={"org.opencontainers.image.ref.name": tag})
    blobs = [image.raw_manifest, image.raw_config]
    for layer in image.layers:
        with layer.open() as stream:
            blobs.append(stream.read())
    return [
        ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
        *((f"blobs/sha256/{Digest.of(blob).encoded}", blob) for blob in blobs),
        ("index.json", to_json(Index(media_type=mediatypes.OCI_INDEX, manifests=(named,)))),
    ]
