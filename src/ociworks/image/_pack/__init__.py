"""Packing: files → tar → compressed layer, in one pass and with the same bytes everywhere.

================  ==========================================================================
file              what it holds
================  ==========================================================================
``spool``         bytes that stay as they are: in memory, or in a file without a name
``builder``       entries in, one layer out; digests and size on the way
``tree``          a directory → entries and content, by descriptors
``sources``       layers from directories, files, archives and overlay's upper directories (``overlay``)
``repack``        what was changed in an unpacked tree, as a layer (``compare``, ``owners``)
================  ==========================================================================

What is public of this is in ``ociworks.image`` and ``ociworks.image.layer``, and as constructors on ``Layer``.
"""
