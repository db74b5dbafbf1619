"""Images: list, status, pull, remove, disk usage."""

from __future__ import annotations

from collections.abc import Iterator

from ociworks.cri._pieces import pieces
from ociworks.cri._requests import need
from ociworks.cri.node import Node
from ociworks.cri.proto import runtime_v1_pb2 as api

__all__ = [
    "image_fs_info",
    "image_status",
    "list_images",
    "pull_image",
    "remove_image",
    "stream_images",
]


def list_images(node: Node, request: api.ListImagesRequest) -> api.ListImagesResponse:
    """Images that match."""
    return api.ListImagesResponse(images=node.images.list(request.filter))


def stream_images(node: Node, request: api.StreamImagesRequest) -> Iterator[api.StreamImagesResponse]:
    """The same, in pieces."""
    for piece in pieces(node.images.list(request.filter)):
        yield api.StreamImagesResponse(images=piece)


def image_status(node: Node, request: api.ImageStatusRequest) -> api.ImageStatusResponse:
    """One image; an empty answer when it is not here."""
    need(request, "image", "image.image")
    return node.images.status(request.image, verbose=request.verbose)


def pull_image(node: Node, request: api.PullImageRequest) -> api.PullImageResponse:
    """Bring an image here."""
    need(request, "image", "image.image")
    return api.PullImageResponse(
        image_ref=node.images.pull(request.image, request.auth, request.sandbox_config)
    )


def remove_image(node: Node, request: api.RemoveImageRequest) -> api.RemoveImageResponse:
    """Remove an image with all its names."""
    need(request, "image", "image.image")
    node.images.remove(request.image)
    return api.RemoveImageResponse()


def image_fs_info(node: Node, request: api.ImageFsInfoRequest) -> api.ImageFsInfoResponse:
    """What images and writable layers take on disk."""
    return node.images.fs_info()
