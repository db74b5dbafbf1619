"""How criu is used.

``requests`` says what it is asked for, ``streams`` what the standard streams were; ``rpc`` is its protocol; ``running``
starts it and becomes the parent of what it restores.
"""

from __future__ import annotations
