"""What images become on this machine: unpacked layers, shared and ready to be mounted. Linux only.

::

    with store.Snapshots("/var/lib/demo/snapshots") as snapshots:
        snapshot = snapshots.prepare(img)                        # unpacks the layers that are missing, once
        with snapshot.mounted("/mnt", state="/var/lib/demo/c1"):  # overlayfs: writes go to the state directory
            ...
        snapshot.copy("/srv/root")                               # a plain tree, where overlayfs is not to be had

- ``snapshots``: one directory per chain ID; ``snapshot``: one image's, mounted or copied; who uses one keeps it
- ``usage``: what they take on the disk
- ``_marks``: overlayfs's whiteouts and opaque directories; ``_merge``: layer directories to one plain tree;
  ``_lookup``: one file of them

The blobs of images are in a layout (:mod:`ociworks.image.layout`).
"""

from ociworks.image.store.snapshot import Snapshot
from ociworks.image.store.snapshots import Snapshots
from ociworks.image.store.usage import Usage

__all__ = ["Snapshot", "Snapshots", "Usage"]
