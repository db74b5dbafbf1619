"""A program that writes to a layout and is killed."""

from __future__ import annotations

__all__ = ["WRITER"]

WRITER = """
import sys
from ociworks.image import layout
from ociworks.spec.image import Descriptor
class Slow:
    sent = False
    def read(self, size=-1, /):
        if self.sent:
            print("half", flush=True)
            sys.stdin.read()
        self.sent = True
        return b"half"
    def close(self): pass
    def __enter__(self): return self
    def __exit__(self, *_): pass
layout.open(sys.argv[1]).write_blob(Descriptor.of(b"half and half", "text/plain"), Slow())
"""
"""Says so when it has written half of a blob, and waits for the end of its input."""
