"""The registry server behind ``ociworks.testing.Registry`` and ``ociworks registry serve``.

A connection is a thread. A request goes down this list, and its response up again::

    server       the listening socket, threads, TLS, the end
    wire         one connection: heads, bodies, what is sent; everything bounded
    messages     Request, Response, Body as values
    site         who may ask, which route, what a failure looks like
    blobs  uploads  manifests  listings      one function per route and method
    store        what a store must do; memory and directory do it

- ``routes``: the table of paths and methods, and the grammar of names
- ``access``: credentials and tokens; ``passwords``: files of htpasswd
- ``refused``: the error codes of the specification
- ``limits``: what is bounded
- ``faults``: what goes wrong on demand
- ``hashing``: the digest of an upload, made while it arrives
- ``sessions``: names of uploads, and one request at a time for each
- ``links``, ``claim``, ``resumable``: small files and links of the directory store, whose it is, and its uploads
"""

from __future__ import annotations

__all__: list[str] = []
