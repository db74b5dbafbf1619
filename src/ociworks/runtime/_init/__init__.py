"""What runs outside the caller: the launcher process and, in a container, the executor of a plan.

This package is imported by a bare interpreter (``-I -S -B``) that then enters untrusted surroundings, so it imports
only the modules in ``ALLOWED_IMPORTS`` and ``ociworks._linux``; ``tests/test_imports.py`` holds that.

- ``wire``: the messages between caller, launcher and init, drawn as a table
- ``launcher``: the loop of the helper process; owns what must go when the caller dies
- ``detaching``: the same, with shims and lists of system calls; ``entering``: with such lists
- ``reaper``: the loop of another helper, the parent of containers that other runtimes made
- ``programs``: starts those runtimes' programs; ``beside``: starts criu, with a root filesystem that it alone sees
- ``porter``: the parent, for a moment, of an exec that outlives its caller
- ``pod``: a helper that lives for one request of a pod for a user or process namespace
- ``trust``: what exists because of one container and must go with it
- ``spawn``: one clone3 per process, id maps, joining namespaces
- ``listed``: operations as system calls in a list; ``entry``: most further processes by such a list; ``runners``: what
  waits for the list of a first process (``ociworks.runtime._listed``)
- ``network``: makes a network namespace ahead
- ``context``: what the operations of one plan share
- ``execute``: runs the operations of a plan, one after the other
- ``maps``, ``sources``: id maps, and what the launcher opens on the host for the mounts of a container
- ``procfs``: writes to kernel settings
- ``targets``: places in the root, resolved once; ``copyup``: what a tmpfs starts with
- ``rootfs``, ``mounts``, ``protect``, ``devices``, ``terminal``, ``identity``, ``labels``, ``hooks``, ``users``,
  ``start``: the operations by concern
- ``resctrl``: makes and removes resource control groups, in the launcher
"""

ALLOWED_IMPORTS = frozenset(
    {
        "__future__",
        "_json",
        "_signal",
        "_socket",
        "ctypes",
        "errno",
        "fcntl",
        "gc",
        "marshal",
        "os",
        "resource",
        "select",
        "stat",
        "struct",
        "sys",
        "termios",
        "time",
        "ociworks._linux",
        "ociworks.runtime._cgroupbpf",
        "ociworks.runtime._cgroupfs",
        "ociworks.runtime._cgroupkill",
        "ociworks.runtime._init",
        "ociworks.runtime.shim",
    }
)
"""Every module that this package may import at run time; names below ``ociworks`` stand for what is below them."""
