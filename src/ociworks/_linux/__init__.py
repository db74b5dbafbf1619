"""Thin, typed system calls: ctypes and os only. Errors are OSError with the path.

``libc`` declares the C library and the syscall gate, ``consts`` holds numbers, ``path`` resolves paths by
directory descriptor, ``mount`` is the file-descriptor mount API, ``overlay`` mounts overlayfs with it, ``process``
is clone3, pidfds, namespaces and prctl, ``capabilities`` the capability sets, ``memfd`` a sealed copy of a program.
"""
