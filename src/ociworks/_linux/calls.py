"""Lists of system calls, and the program that carries one out: a few hundred bytes of machine code and no library.

A process that enters a container by it brings nothing along: no interpreter, no heap, no copy of its parent's memory
(RT-09). The program reads its list from descriptor 0, into memory at a fixed address, and goes from entry to entry::

    call        a system call and its six arguments
    expected    what it has to give; anything that is no error, unless this says more
    pardoned    errors after which it goes on; the last of them is remembered (EACCES before all others)
    then        the entry to go on at when the result is 0: the child's side of a clone
    report      where a failure is written: a message in which there is room for the errno; the program ends then.
                0 in that place: the call gave something else than was expected

Six calls are its own: fail with the remembered error, forget it, ask whether there is one, compare a byte, ask whether
the bytes of two places are equal (0, or 1 if not), and go on at the entry whose address is at a place.
There is a program for each architecture that runs containers here, x86-64 and ARM64; ``tests/linux/calls`` has their
sources, and a test assembles these again.
"""

from __future__ import annotations

import os
import struct

from ociworks._linux import elf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "ANY",
    "CURRENT_DIRECTORY",
    "LATER",
    "LATER_SPACE",
    "SCRATCH",
    "SUPPORTED",
    "CallList",
    "errors",
    "program",
]

_CODE: Final = 0x400000
_DATA: Final = 0x500000
"""Where a list lies: the address of its first entry, what the entries point to, the entries."""
_MOST: Final = 0x20000
CURRENT_DIRECTORY: Final = _DATA + _MOST
"""The address of :data:`PATH_SPACE` bytes to be written to."""
PATH_SPACE: Final = 0x1000
LATER: Final = _DATA + 0x2000
"""The address of a second list, which the first one receives; that one is shorter."""
LATER_SPACE: Final = _DATA + _MOST - LATER
SCRATCH: Final = CURRENT_DIRECTORY + PATH_SPACE
"""The address of :data:`SCRATCH_SPACE` bytes for what calls give; zero at first."""
SCRATCH_SPACE: Final = 0x4000
_RIGHTS: Final = SCRATCH + 0x3000
_RIGHTS_SPACE: Final = 0x1000
"""Where descriptors are received, at the end of it."""
_CMSG_CLOEXEC: Final = 0x40000000
_SPACE: Final = _MOST + PATH_SPACE + SCRATCH_SPACE
ANY: Final = 0xFFFFFFFF
_UNUSED: Final = tuple((0,) * (6 - used) for used in range(7))
_WORDS: Final = 13
_THEN: Final = 12
_OWN: Final = {
    name: (1 << 32) - number
    for number, name in enumerate(("fail", "compare", "forget", "remembered", "equal", "go"), 1)
}
_NAMES: Final = (
    "read write close setsid umask chdir getcwd execve dup3 setgroups setresgid setresuid getuid geteuid getgid getegid"
    " getgroups fchown personality prctl capset rt_sigaction sched_setaffinity openat keyctl setns prlimit64 seccomp"
    " exit_group clone3 close_range unshare recvmsg socket ioctl mkdirat mknodat fchownat symlinkat statx fstatfs"
    " fchdir pivot_root umount2 sethostname setdomainname newfstatat"
    " open_tree move_mount fsopen fsconfig fsmount openat2 mount_setattr"
).split()
_NUMBERS: Final = {
    "x86_64": (
        *(0, 1, 3, 112, 95, 80, 79, 59, 292, 116, 119, 117, 102, 107, 104, 108),
        *(115, 93, 135, 157, 126, 13, 203, 257, 250, 308, 302, 317),
        *(231, 435, 436, 272, 47, 41, 16, 258, 259, 260, 266, 332, 138),
        *(81, 155, 166, 170, 171, 262),
        *(428, 429, 430, 431, 432, 437, 442),
    ),
    "aarch64": (
        *(63, 64, 57, 157, 166, 49, 17, 221, 24, 159, 149, 147, 174, 175, 176, 177),
        *(158, 55, 92, 167, 91, 134, 122, 56, 219, 268, 261, 277),
        *(94, 435, 436, 97, 212, 198, 29, 34, 33, 54, 36, 291, 44),
        *(50, 41, 39, 161, 162, 79),
        *(428, 429, 430, 431, 432, 437, 442),
    ),
}
_CALLS: Final = {
    machine: {**dict(zip(_NAMES, numbers, strict=True)), **_OWN} for machine, numbers in _NUMBERS.items()
}
_MACHINES: Final = {"x86_64": 62, "aarch64": 183}
_PROGRAMS: Final = {
    "x86_64": bytes.fromhex(
        "31c031ffbe00005000ba000002000f0585c00f8ecf0000008b1c25000050004531ed4863038b7b048b73088b530c448b"
        "5310448b4314448b4b1885c078510f05483d01f0ffff731f8b4b2c83f9ff740839c8740431c0eb7885c0752e8b4b3085"
        "c9742789cbebbbf7d8663b431c7412663b431e740c663b43207406663b4322754f4183fd0d74034189c583c334eb93ff"
        "c0743affc07426ffc0741dffc07414ffc074078b1fe978ffffff89d1f3a60f95c0eb8d4489e8eb884531edeb83403a37"
        "0f847affffffb801000000eb034489e88b73240fc88946010fb753280fb77b2ab8010000000f05bfff000000b8e70000"
        "000f05"
    ),
    "aarch64": bytes.fromhex(
        "e80780d2000080d2010aa0d24200a0d2010000d41f0000718d0a0054130aa0d2730240b914008052680280b960864029"
        "628e4129649642294804f837010000d41ffc3fb1a2010054692e40b93f050031a00000541f00096b6000005400008052"
        "3b000014a0020035693240b969020034f303092aedffff17e003004b693a40791f00096b40010054693e40791f00096b"
        "e0000054694240791f00096b80000054694640791f00096b210500549f36007140000054f403002a73d20011dbffff17"
        "08050031200400540805003100030054080500316002005408050031e00100540805003160000054130040b9cfffff17"
        "091440382a1440383f010a6ba10000544204007161ffff5400008052cdffff1720008052cbffff17e003142ac9ffff17"
        "1400805200008052c6ffff1709004039211c0012200080523f01016b8100005400008052bfffff17e003142a612640b9"
        "0008c05a201000b86252407960564079080880d2010000d4e01f80d2c80b80d2010000d4"
    ),
}
_MACHINE: Final = os.uname().machine
SUPPORTED: Final = _MACHINE in _PROGRAMS
"""Whether there is a program for this machine."""


def program(machine: str = _MACHINE) -> bytes:
    """The program that carries out lists, an ELF file."""
    return elf.executable(_MACHINES[machine], _CODE, _PROGRAMS[machine], space=(_DATA, _SPACE))


def errors(first: int, second: int = 0, third: int = 0, fourth: int = 0) -> tuple[int, int]:
    """Up to four errors, as an entry has them."""
    return first | second << 16, third | fourth << 16


class CallList:
    """A list in the making. What is to be reported, and where, is set for the calls that follow."""

    def __init__(self, machine: str = _MACHINE, base: int = _DATA) -> None:
        """``base`` is where it is to lie: at the beginning of the memory, or :data:`LATER`."""
        self._calls = _CALLS[machine]
        self._base = base
        self._words: list[int] = []
        self._data = bytearray(8)
        self._report = (0, 0)
        self._jumps: list[tuple[int, int]] = []

    def copy(self) -> CallList:
        """Another one that goes on from here."""
        other = CallList.__new__(CallList)
        other._calls, other._base, other._report = self._calls, self._base, self._report  # noqa: SLF001 - one of us
        other._words, other._data, other._jumps = [*self._words], self._data[:], [*self._jumps]  # noqa: SLF001 - the same
        return other

    def put(self, data: bytes) -> int:
        """Have bytes in the list's memory; their address, a multiple of eight."""
        address = self._base + len(self._data)
        self._data += data + bytes(-len(data) % 8)
        return address

    def text(self, text: bytes) -> int:
        """The same for a C string. Raises ValueError when it would end before its end."""
        if 0 in text:
            raise ValueError("embedded null byte")
        return self.put(text + b"\0")

    def report(self, fd: int, message: bytes, address: int = 0) -> None:
        """What a failure of the following calls writes to ``fd``; its bytes 1 to 4 become the errno, big-endian.

        ``address`` is where it is if it is in the memory already.
        """
        self._report = (address or self.put(message), len(message) | fd << 16)

    def call(
        self,
        name: str,
        *arguments: int,
        expected: int = ANY,
        pardoned: tuple[int, int] = (0, 0),
        then: int = 0,
    ) -> int:
        """Append a call; arguments are unsigned words of 32 bits. The number of the entry, for :meth:`land`.

        ``pardoned`` are errors (:func:`errors`).
        """
        words = self._words
        unused = _UNUSED[len(arguments)]
        words += (self._calls[name], *arguments, *unused, *pardoned, *self._report, expected, then)
        return len(words) // _WORDS - 1

    def receive(self, fd: int, address: int, size: int) -> int:
        """Append a recvmsg(2) of so many bytes, to this address; descriptors that come with them are close-on-exec."""
        piece = self.put(struct.pack("=QQ", address, size))
        header = self.put(struct.pack("=QQQQQQQ", 0, 0, piece, 1, _RIGHTS, _RIGHTS_SPACE, 0))
        return self.call("recvmsg", fd, header, _CMSG_CLOEXEC)

    def land(self, entry: int) -> None:
        """A call whose result is 0 goes on here: at the entry that is appended next."""
        self._jumps.append((entry, len(self._words)))

    def finish(self) -> bytes:
        """The whole list. Raises OverflowError when it is longer than the program's memory."""
        start = self._base + len(self._data)
        for entry, target in self._jumps:
            self._words[entry * _WORDS + _THEN] = start + target * 4
        self._data[:4] = struct.pack("<I", start)
        whole = bytes(self._data) + struct.pack(f"<{len(self._words)}I", *self._words)
        if len(whole) > (most := _DATA + _MOST - self._base):
            raise OverflowError(f"{len(whole)} bytes of system calls, at most {most} are possible")
        return whole
