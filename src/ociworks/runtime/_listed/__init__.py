"""First processes of containers as lists of system calls (``_linux.calls``), written by the caller.

- ``mounting``: operations on the root and its mounts, beside those of ``_init.listed``; which descriptors are open
- ``first``: the whole list of a first process, and which plans have one

Each operation means here exactly what its function in ``_init`` does. What needs a decision on the way has no list, and
a list to whose expectation something is not gives up: an interpreter does the same plan then, from the beginning.
"""
