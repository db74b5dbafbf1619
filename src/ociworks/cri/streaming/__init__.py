"""Streams of programs and ports in pods: the streaming server of the Container Runtime Interface, and ExecSync.

Protocols without I/O:

- ``spdy``: SPDY/3.1 frames; ``_dictionary``: what their compression begins with
- ``command``: what passes between a client and a program (remote command); ``_sizes``: terminals; ``_outcome``: ends
- ``tokens``: who may connect

Sessions, one thread each, which own everything that they use:

- ``server``: listens, and gives each request a thread; ``_http``: the request; ``_peer``: the connection
- ``remotecommand``: exec and attach; ``_session``, ``_loop``, ``_pipes``: what they stand on
- ``execsync``: a program to its end
- ``service``: Streaming, the part of a node
"""

from __future__ import annotations

__all__ = ()
