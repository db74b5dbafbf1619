"""Streams of programs and ports in pods: the streaming server of the Container Runtime Interface, and ExecSync.

Protocols without I/O:

- ``spdy``: SPDY/3.1 frames; ``_dictionary``: what their compression begins with
- ``command``: what passes between a client and a program (remote command); ``_sizes``: terminals; ``_outcome``: ends
- ``websocket``: channels in one WebSocket, and the tunnel; ``forward``: what passes between a client and ports
- ``tokens``: who may connect

Sessions, one thread each, which own everything that they use:

- ``server``: listens, and gives each request a thread; ``_http``: the request; ``_peer``: the connection;
  ``_negotiation``: which protocol it speaks
- ``remotecommand``: exec and attach; ``_session``, ``_loop``, ``_pipes``: what they stand on
- ``portforward``: ports; ``_pod``: the network of a pod; ``_room``: what may wait for slow ports
- ``execsync``: a program to its end; ``_family``: all that came of one; ``_mark``: what they bear
- ``service``: Streaming, the part of a node
"""

from __future__ import annotations

__all__ = ()
