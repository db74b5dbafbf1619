"""The counters of the interfaces in pods, read by one thread that visits their pinned namespaces and then ends.

A pod's own processes are not asked: one may have left its namespace, and a pod may have none.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from typing import Final

from attrs import frozen

from ociworks._linux import process

__all__ = ["Interface", "interfaces", "parse"]

_logger = logging.getLogger(__name__)
_TABLE: Final = "/proc/thread-self/net/dev"
_MAX: Final = 1 << 20
_COLUMNS: Final = 16


@frozen(kw_only=True)
class Interface:
    """One interface since it was made; bytes and packets."""

    name: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_dropped: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_dropped: int


def interfaces(pins: Mapping[str, str]) -> dict[str, tuple[Interface, ...]]:
    """By name, all but the loopback ones in the network namespace that each path pins; nothing of those not there."""
    found: dict[str, tuple[Interface, ...]] = {}
    if pins:
        visitor = threading.Thread(target=_visit, args=(pins, found), name="ociworks-cri-network-stats")
        visitor.start()
        visitor.join()
    return found


def parse(table: str) -> tuple[Interface, ...]:
    """The lines of ``/proc/PID/net/dev``, without the loopback interface."""
    found = []
    for line in table.splitlines()[2:]:
        name, _, rest = line.rpartition(":")
        columns = [int(word) for word in rest.split()]  # trusted: the kernel wrote it
        name = name.strip()
        if name == "lo" or len(columns) < _COLUMNS:
            continue
        found.append(
            Interface(
                name=name,
                rx_bytes=columns[0],
                rx_packets=columns[1],
                rx_errors=columns[2],
                rx_dropped=columns[3],
                tx_bytes=columns[8],
                tx_packets=columns[9],
                tx_errors=columns[10],
                tx_dropped=columns[11],
            )
        )
    return tuple(found)


def _visit(pins: Mapping[str, str], found: dict[str, tuple[Interface, ...]]) -> None:
    for name, pin in pins.items():
        try:
            found[name] = parse(_table(pin))
        except OSError as error:
            _logger.debug("%s: no counters of interfaces: %s", pin, error)


def _table(pin: str) -> str:
    namespace = os.open(pin, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        process.setns(namespace, process.CLONE_NEWNET)
    finally:
        os.close(namespace)
    with open(_TABLE, "rb") as stream:
        return stream.read(_MAX).decode("ascii", "replace")
