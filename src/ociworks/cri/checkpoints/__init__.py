"""Containers and pods on disk: what CheckpointContainer and CheckpointPod write.

A container is left running. What criu wrote of it and what describes it become one archive, laid out as CRI-O and
containerd do, so that checkpointctl reads it:

==================  ==================================================================================
name                holds
==================  ==================================================================================
``checkpoint/``     criu's images
``dump.log``        criu's log
``config.dump``     which container and image it was, and when
``spec.dump``       the runtime's configuration
``status.dump``     ContainerStatus
``rootfs-diff.tar`` what it had changed in its root filesystem, as a layer of an image
``container.log``   its log
==================  ==================================================================================

- ``checkpoints``: Checkpoints, what the servicer calls
- ``documents``: the files that describe a container
- ``archive``: writes an archive beside its place and puts it there whole
"""

from __future__ import annotations

from ociworks.cri.checkpoints.checkpoints import Checkpoints

__all__ = ["Checkpoints"]
