"""bpf(2) for the v2 device filter: load, attach, read back. Instructions come from ``cgroups.devices_bpf``."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from ociworks._linux.libc import address, oserror_number, syscall

__all__ = ["attach"]

_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID, _PROG_QUERY = 5, 8, 9, 13, 16
_TYPE_CGROUP_DEVICE = 15
_ATTACH_CGROUP_DEVICE = 6
_ALLOW_MULTI = 2
_MAX_PROGRAMS = 64


def attach(directory: int, program: bytes) -> None:
    """Put ``program`` in force for the group behind the descriptor ``directory`` and prove that it is.

    Programs that were there before are detached afterwards, so that at no moment there is none. Raises OSError:
    EPERM without CAP_BPF and CAP_NET_ADMIN or CAP_SYS_ADMIN, EINVAL when the kernel refuses the instructions.
    """
    before = _query(directory)
    loaded = _load(program)
    try:
        _bpf(_PROG_ATTACH, struct.pack("=4I", directory, loaded, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI))
    finally:
        os.close(loaded)
    try:
        for number in before:
            _detach(directory, number)
    except OSError:
        for number in set(_query(directory)) - set(before):
            _detach(directory, number)
        raise
    after = _query(directory)
    if len(after) != 1 or after[0] in before:
        raise oserror_number(errno.EIO, f"bpf: expected one attached device program, found {len(after)}")


def _load(program: bytes) -> int:
    licence = b"Apache-2.0\0"
    attributes = struct.pack(
        "=IIQQ", _TYPE_CGROUP_DEVICE, len(program) // 8, address(program), address(licence)
    )
    return _bpf(_PROG_LOAD, attributes)


def _query(directory: int) -> list[int]:
    numbers = (ctypes.c_uint32 * _MAX_PROGRAMS)()
    attributes = ctypes.create_string_buffer(
        struct.pack(
            "=4IQI", directory, _ATTACH_CGROUP_DEVICE, 0, 0, ctypes.addressof(numbers), _MAX_PROGRAMS
        ),
        128,
    )
    _call(_PROG_QUERY, attributes)
    (count,) = struct.unpack_from("=I", attributes.raw, 24)
    return list(numbers[:count])


def _detach(directory: int, number: int) -> None:
    program = _bpf(_PROG_GET_FD_BY_ID, struct.pack("=I", number))
    try:
        _bpf(_PROG_DETACH, struct.pack("=3I", directory, program, _ATTACH_CGROUP_DEVICE))
    finally:
        os.close(program)


def _bpf(command: int, attributes: bytes) -> int:
    return _call(command, ctypes.create_string_buffer(attributes, 128))


def _call(command: int, buffer: ctypes.Array[ctypes.c_char]) -> int:
    number = _NUMBERS.get(os.uname().machine)
    if number is None:
        raise oserror_number(errno.ENOSYS, f"bpf on {os.uname().machine}")
    return syscall(number, command, ctypes.addressof(buffer), len(buffer), call="bpf")
