"""Thin, typed system calls: ctypes and os only. Errors are OSError with the path.

``libc`` declares the C library and the syscall gate, ``consts`` holds numbers, ``path`` resolves paths by
directory descriptor, ``mount`` is the file-descriptor mount API, ``overlay`` mounts overlayfs with it, ``process``
is clone3, pidfds, namespaces and prctl, ``capabilities`` the capability sets, ``memfd`` a program that nobody can
write, ``calls`` one that carries out a list of system calls, and ``elf`` the file that makes a program of machine code.
"""
