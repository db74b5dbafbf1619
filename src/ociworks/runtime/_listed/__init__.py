"""First processes of containers as lists of system calls (``_linux.calls``), written by the caller.

- ``building``: a list in the making, and which descriptors are open at each point
- ``mounting``, ``groups``: operations on the root, its mounts and control groups, beside those of ``_init.listed``
- ``first``: the whole list of a first process, and which plans have one

Each operation means here exactly what its function in ``_init`` does. What needs a decision on the way has no list, and
a list to whose expectation something is not gives up: an interpreter does the same plan then, from the beginning.
"""
