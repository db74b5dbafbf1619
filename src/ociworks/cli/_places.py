"""Images by their places, for the commands that read, move and make them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ociworks.cli._arguments import platform_option, registry_options, store_option

if TYPE_CHECKING:
    import argparse
    from argparse import ArgumentParser, Namespace

    from ociworks.api import CopyOptions
    from ociworks.image import Image, ImageIndex
    from ociworks.image.remote import Client
    from ociworks.image.sign import Policy

__all__ = [
    "PLACES",
    "client_of",
    "options_of",
    "place",
    "place_options",
    "policy_of",
    "policy_option",
    "source_document",
    "source_image",
]

PLACES: Final = (
    "PLACE is a reference (docker.io/library/busybox:1.36, a registry), oci:DIR[:TAG], oci-archive:FILE[:TAG], "
    "docker-archive:FILE[:REF] or store:REF (the image store)."
)


def place(command: ArgumentParser, name: str, help: str) -> None:
    """A place as an argument."""
    command.add_argument(name, metavar=name.upper(), help=help)


def place_options(command: ArgumentParser, *, platform: bool = True) -> None:
    """What every command with a place has; the places themselves are explained below the help."""
    command.epilog = PLACES
    if platform:
        platform_option(command)
    store_option(command)
    registry_options(command)


def policy_option(command: argparse._ActionsContainer, help: str = "bring only what it accepts") -> None:
    """``--policy``."""
    command.add_argument(
        "--policy",
        metavar="FILE",
        help=f"{help}: a policy.json; 'default': that of this user or system",
    )


def policy_of(arguments: Namespace) -> Policy | None:
    """What ``--policy`` names."""
    from ociworks.image.sign import Policy

    if arguments.policy is None:
        return None
    return Policy.load(None if arguments.policy == "default" else arguments.policy)


def client_of(arguments: Namespace) -> Client:
    """A client as the options and this host say; close it."""
    from ociworks import api

    return api.host_client(insecure=arguments.insecure)


def options_of(arguments: Namespace) -> CopyOptions:
    """Where ``store:`` is."""
    from ociworks import api

    return api.CopyOptions(store=arguments.store)


@contextmanager
def source_image(arguments: Namespace, place: str) -> Iterator[Image]:
    """The image at a place, for ``--platform``, readable in the block."""
    from ociworks import api

    with (
        client_of(arguments) as client,
        api.opened(place, platform=arguments.platform, client=client, options=options_of(arguments)) as found,
    ):
        yield found


@contextmanager
def source_document(arguments: Namespace, place: str) -> Iterator[Image | ImageIndex]:
    """What is at a place; with ``--platform`` the image for it, else the index if it is one."""
    from ociworks import api

    if arguments.platform is not None:
        with source_image(arguments, place) as image:
            yield image
        return
    with (
        client_of(arguments) as client,
        api.opened_document(place, client=client, options=options_of(arguments)) as found,
    ):
        yield found
