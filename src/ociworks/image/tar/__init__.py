"""Tar archives as layers have them: bounded, strict, streaming.

================  =============================================================
file              what it holds
================  =============================================================
``limits``        the bounds, one frozen value
``compression``   media type → decompressing stream (``_gzip``, ``_zstd``)
``entry``         one entry as a value
``names``         names → components
``numbers``       the number fields of headers
``pax``           extended headers
``reader``        a stream → entries and their content (``_blocks``)
``whiteout``      the deletions that layers express as names
================  =============================================================
"""

from ociworks.image.tar.compression import Compression, compression_of, decompress
from ociworks.image.tar.entry import EntryType, TarEntry
from ociworks.image.tar.limits import DEFAULT_LIMITS, Limits
from ociworks.image.tar.reader import TarReader

__all__ = [
    "DEFAULT_LIMITS",
    "Compression",
    "EntryType",
    "Limits",
    "TarEntry",
    "TarReader",
    "compression_of",
    "decompress",
]
