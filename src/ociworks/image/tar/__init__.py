"""Tar archives as layers have them: read within bounds and strictly, written reproducibly, streaming both ways.

================  =============================================================
file              what it holds
================  =============================================================
``limits``        the bounds, one frozen value
``compression``   media type → decompressing stream (``_gzip``, ``_zstd``)
``entry``         one entry as a value
``names``         names → components
``numbers``       the number fields of headers
``pax``           extended headers
``sparse``        files with holes: which parts of them an archive stores
``reader``        a stream → entries and their content (``_blocks``)
``writer``        entries and their content → the same stream everywhere (``_headers``)
``compress``      the other way: compressing, with bytes that the input decides (``_deflate``)
``whiteout``      the deletions that layers express as names
================  =============================================================
"""

from ociworks.image.tar.compress import Compressor, compress_to, is_canonical
from ociworks.image.tar.compression import Compression, compression_of, decompress
from ociworks.image.tar.entry import EntryType, TarEntry
from ociworks.image.tar.limits import DEFAULT_LIMITS, Limits
from ociworks.image.tar.reader import TarReader
from ociworks.image.tar.writer import TarWriter, pieces_of

__all__ = [
    "DEFAULT_LIMITS",
    "Compression",
    "Compressor",
    "EntryType",
    "Limits",
    "TarEntry",
    "TarReader",
    "TarWriter",
    "compress_to",
    "compression_of",
    "decompress",
    "is_canonical",
    "pieces_of",
]
