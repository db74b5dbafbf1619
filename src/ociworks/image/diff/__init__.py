"""What two images differ in: documents field by field, layers, files.

::

    found = diff.images(a, b)
    print(found)                        # for people; everything foreign in it is escaped
    found.files                         # (FileChange(kind="changed", path="/etc/motd", differences=("content",) …), …)
    found.to_json()                     # for programs
    diff.images(a, b, files=False)      # documents and layers only: no layer is read

============  ==================================================================================
where         what
============  ==================================================================================
``images``    `images`: the question, and its answer `ImageDiff`
``_values``   the parts of the answer: `FieldChange`, `LayerChanges`, `FileChange` …
``_fields``   two JSON documents, member by member
``_layers``   the layers that both have, and the others
``_files``    the trees that both unpack to, without unpacking
``_show``     the answer as text and as JSON
============  ==================================================================================
"""

from __future__ import annotations

from ociworks.image.diff._values import FieldChange, FileChange, FileInfo, ImageDiff, LayerChanges, LayerInfo
from ociworks.image.diff.images import images

__all__ = ["FieldChange", "FileChange", "FileInfo", "ImageDiff", "LayerChanges", "LayerInfo", "images"]
