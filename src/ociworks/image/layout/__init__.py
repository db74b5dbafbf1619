"""The OCI image layout as a content-addressable store (image-spec image-layout.md).

::

    with layout.open("store", create=True) as store:
        img = store.put(img, tag="app:1.4")      # what is missing travels, in parallel, verified
        store.tags()                             # {"app:1.4": Descriptor(…)}
        img = store.image("app:1.4")
        with store.lease() as lease:             # nobody's garbage collection takes this image now
            lease.hold(img)
            store.untag("app:1.4")
        store.gc().freed                         # bytes

What skopeo, umoci, podman and buildah write is read, and the reverse. Several processes and threads may use one layout:
blobs appear whole under their digest, one that several want is brought once, ``index.json`` changes under a lock by
rename and only after everything that it names is durable. Names come only from the caller: an annotation inside an
image never becomes a tag.

==============  ======================================================================
file            what it holds
==============  ======================================================================
``_layout``     ``Layout`` and ``open``
``_entries``    ``index.json`` as a value: entering, tagging, removing
``_storing``    an image and all that it needs, several blobs at a time
``_leases``     what must not be collected, as files that die with their holder
``_garbage``    what nothing reaches
``_chains``     which unpacked layers its images need
``_checking``   what is damaged
``_names``      references as tags
==============  ======================================================================
"""

from __future__ import annotations

from ociworks.image.layout._garbage import GarbageReport
from ociworks.image.layout._layout import Layout, open  # noqa: A004
from ociworks.image.layout._leases import Lease
from ociworks.image.layout._names import name_of, reference_in

__all__ = ["GarbageReport", "Layout", "Lease", "name_of", "open", "reference_in"]
