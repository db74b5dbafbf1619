"""Messages on a shim's socket (``shim`` in the private state directory): the whole of what anybody may ask of it.

=============  ==========================================================  ==========================================
kind           body                                                        answer
=============  ==========================================================  ==========================================
client → shim
``A`` attach   a byte: 1 standard input, 2 output, 4 error, added up       ``D``, then output, at last ``X``
``W`` wait     (empty)                                                     ``X`` when the container has ended
``S`` resize   columns, rows (two numbers of 16 bits)                      ``D``, none when attached
``L`` reopen   (empty) open the log file again by its name                 ``D``
``Q`` quit     (empty) kill the container, if it is there, and end         end of file
``I`` input    bytes; only when attached with standard input               none
``Z`` close    (empty) standard input has ended; as ``I``                  none
shim → client
``D`` done     (empty)
``E`` failed   errno, step, text, path as in ``_init.wire``
``O``, ``R``   bytes of standard output (a terminal's too) and error
``M`` missed   so many bytes (64 bits) were dropped: the client was slow
``X`` exited   the exit status (64 bits; negative: a signal's number)
=============  ==========================================================  ==========================================

Message boundaries are kept (SOCK_SEQPACKET), so there is no length to believe and no half of a frame to wait for. A
message that is too long, carries descriptors or is not in the table ends the connection.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

__all__ = [
    "ATTACH",
    "CHUNK",
    "CLOSE",
    "COUNT",
    "INPUT",
    "MISSED",
    "QUIT",
    "REOPEN",
    "RESIZE",
    "SIZE",
    "SOCKET",
    "STDERR",
    "STDOUT",
    "WAIT",
    "WITH_STDERR",
    "WITH_STDIN",
    "WITH_STDOUT",
]

ATTACH: Final = b"A"
WAIT: Final = b"W"
RESIZE: Final = b"S"
REOPEN: Final = b"L"
QUIT: Final = b"Q"
INPUT: Final = b"I"
CLOSE: Final = b"Z"
STDOUT: Final = b"O"
STDERR: Final = b"R"
MISSED: Final = b"M"

WITH_STDIN: Final = 1
WITH_STDOUT: Final = 2
WITH_STDERR: Final = 4

SOCKET: Final = "shim"
"""The socket's name in the state directory."""
CHUNK: Final = 16000
"""Bytes of a stream in one message; a message holds ``wire.MAX_MESSAGE``."""
SIZE: Final = struct.Struct("!HH")
COUNT: Final = struct.Struct("!Q")
