"""How criu is used.

``requests`` says what it is asked for, ``streams`` what the standard streams were; ``rpc`` is its protocol; ``running``
starts it and becomes the parent of what it restores, ``held`` has a shim be that. ``within`` looks at what it made of
images that nobody vouches for, ``shared`` keeps it from changing namespaces that others are in, ``mapped`` gives it
what it cannot make: binds with IDs of their own.
"""

from __future__ import annotations
