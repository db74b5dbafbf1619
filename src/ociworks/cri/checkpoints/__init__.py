"""Containers and pods on disk: what CheckpointContainer and CheckpointPod write, and what comes back of it.

A container stands still while it is written, and goes on. What criu wrote of it and what describes it become one
archive, laid out as CRI-O and containerd do, so that checkpointctl reads it:

==================  ==================================================================================
name                holds
==================  ==================================================================================
``checkpoint/``     criu's images
``dump.log``        criu's log
``stats-dump``      criu's statistics
``config.dump``     which container and image it was, and when
``spec.dump``       the runtime's configuration
``status.dump``     ContainerStatus
``rootfs-diff.tar`` what it had changed in its root filesystem, as a layer of an image
``container.log``   its log
==================  ==================================================================================

- ``checkpoints``: Checkpoints, what the servicer calls
A container whose image is such an archive (by its path), or an image made of one, is restored when it is created, and
stands still until it is started; so is each of a pod that RestorePod makes. Of the archive it has its processes, its
files and its log; everything else it has of the request (:mod:`ociworks.cri.container.restoring`).

- ``documents``: the files that describe a container
- ``archive``: writes an archive beside its place and puts it there whole
- ``saved``: reads one, bounded, into a private directory
"""

from __future__ import annotations

from ociworks.cri.checkpoints.checkpoints import Checkpoints

__all__ = ["Checkpoints"]
