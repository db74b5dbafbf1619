"""Capabilities: the kernel's names and numbers, and the calls that set the five sets (capabilities(7))."""

from __future__ import annotations

import ctypes
import struct

from ociworks._linux.libc import check_uint, libc, oserror
from ociworks._linux.numbers import CAPABILITIES, last_capability
from ociworks._linux.process import prctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = ["CAPABILITIES", "drop_bounding", "last_capability", "raise_ambient", "set_capabilities"]

_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_CAP_AMBIENT: Final = 47
_AMBIENT_RAISE: Final = 2
_AMBIENT_CLEAR_ALL: Final = 4
_VERSION_3: Final = 0x20080522


_HEADER: Final = struct.Struct("=Ii")
"""struct __user_cap_header_struct: version, pid."""
_DATA: Final = struct.Struct("=6I")
"""Twice struct __user_cap_data_struct: the lower and then the upper halves of effective, permitted, inheritable."""

libc.capset.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
libc.capset.restype = ctypes.c_int


def drop_bounding(keep: int, last: int) -> None:
    """Drop every capability up to number ``last`` that is not in the mask ``keep`` from the bounding set."""
    for number in range(last + 1):
        if not keep >> number & 1 and libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) == -1:
            _refused(number)


def _refused(number: int) -> None:
    """It could not be dropped, which is no error where it is not in the set."""
    error = oserror("prctl PR_CAPBSET_DROP")
    if not isinstance(error, PermissionError) or prctl(_PR_CAPBSET_READ, number):
        raise error


def set_capabilities(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) for this thread, from three 64-bit masks."""
    masks = [check_uint(mask, 64, "capability mask") for mask in (effective, permitted, inheritable)]
    halves = (*(mask & 0xFFFFFFFF for mask in masks), *(mask >> 32 for mask in masks))
    if libc.capset(_HEADER.pack(_VERSION_3, 0), _DATA.pack(*halves)) == -1:
        raise oserror("capset")


def raise_ambient(mask: int, last: int) -> None:
    """Make the ambient set exactly ``mask``; its members must be permitted and inheritable."""
    prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    for number in range(last + 1):
        if mask >> number & 1:
            prctl(_PR_CAP_AMBIENT, _AMBIENT_RAISE, number)
