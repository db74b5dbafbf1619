"""Capabilities: the kernel's names and numbers, and the calls that set the five sets (capabilities(7))."""

from __future__ import annotations

import ctypes

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


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


libc.capset.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
libc.capset.restype = ctypes.c_int


def drop_bounding(keep: int, last: int) -> None:
    """Drop every capability up to number ``last`` that is not in the mask ``keep`` from the bounding set."""
    for number in range(last + 1):
        if not keep >> number & 1:
            _drop(number)


def _drop(number: int) -> None:
    try:
        prctl(_PR_CAPBSET_DROP, number)
    except PermissionError:
        if prctl(_PR_CAPBSET_READ, number):
            raise


def set_capabilities(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) for this thread, from three 64-bit masks."""
    masks = [check_uint(mask, 64, "capability mask") for mask in (effective, permitted, inheritable)]
    header = _Header(_VERSION_3, 0)
    data = (_Data * 2)(_Data(*(mask & 0xFFFFFFFF for mask in masks)), _Data(*(mask >> 32 for mask in masks)))
    if libc.capset(ctypes.addressof(header), ctypes.addressof(data)) == -1:
        raise oserror("capset")


def raise_ambient(mask: int, last: int) -> None:
    """Make the ambient set exactly ``mask``; its members must be permitted and inheritable."""
    prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    for number in range(last + 1):
        if mask >> number & 1:
            prctl(_PR_CAP_AMBIENT, _AMBIENT_RAISE, number)
