"""What is recorded of pods and containers, as values. The store keeps them; nothing else is the truth.

A record is written before anything else is made, and forgotten after everything else is gone, so that what a killed
server was at can always be found. ``phase`` says what it was at::

    sandbox     creating → ready → notready → removing
    container   creating → created → running → exited → removing          (created → exited too)
"""

from __future__ import annotations

from typing import Literal

from attrs import frozen

__all__ = ["ContainerPhase", "ContainerRecord", "SandboxPhase", "SandboxRecord"]

SandboxPhase = Literal["creating", "ready", "notready", "removing"]
ContainerPhase = Literal["creating", "created", "running", "exited", "removing"]


@frozen(kw_only=True)
class SandboxRecord:
    """One pod sandbox. Times are nanoseconds since 1970, 0 for not yet."""

    id: str
    """64 hexadecimal digits, ours."""
    name: str
    """What is reserved: the metadata of the request, joined without ambiguity."""
    phase: SandboxPhase
    created_at: int
    handler: str
    """The name of its runtime; empty for the default one."""
    config: bytes
    """``PodSandboxConfig`` of the request, serialised."""
    cgroup_parent: str = ""
    """The control group that holds its containers."""
    pins: str = ""
    """The directory of its pinned namespaces, one file for each: ``net``, ``ipc``, ``uts``, ``user``, ``pid``."""
    pause: str = ""
    """The process that holds a shared process namespace: its pid and start time (``4711/170272``); else empty."""
    network: bytes = b""
    """What the plugins answered (a CNI result as JSON); empty on the host's network."""
    addresses: tuple[str, ...] = ()
    """Its IP addresses, the primary one first."""


@frozen(kw_only=True)
class ContainerRecord:
    """One container. Times are nanoseconds since 1970, 0 for not yet."""

    id: str
    """64 hexadecimal digits, ours; its ID in the runtime too."""
    sandbox_id: str
    name: str
    """What is reserved: container and pod metadata, joined without ambiguity."""
    phase: ContainerPhase
    handler: str
    config: bytes
    """``ContainerConfig`` of the request, serialised."""
    created_at: int
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    """128 and the number of the signal when one killed it."""
    reason: str = ""
    """``Completed``, ``Error``, ``OOMKilled``, ``StartError`` or ``Unknown`` once it has exited."""
    message: str = ""
    image_id: str = ""
    """The digest of the image's configuration, which is the image's ID everywhere."""
    image_ref: str = ""
    log_path: str = ""
    """Absolute; empty for none."""
    stop_signal: str = ""
    """As the image or the request says; empty for SIGTERM."""
    resources: bytes = b""
    """``LinuxContainerResources`` as they are now, serialised."""
    mounts: bytes = b""
    """A ``ContainerStatus`` that holds the mounts as they were made, serialised."""
    user: bytes = b""
    """``ContainerUser`` as it was made, serialised."""
    restored: bool = False
    """Whether it was made of a checkpoint."""
