"""Locks by name: one holder at a time, nothing kept afterwards."""

from __future__ import annotations

import threading

from ociworks.cri.locks import KeyedLocks


def test_one_holder_of_a_name_at_a_time() -> None:
    locks = KeyedLocks()
    entered = threading.Event()

    def enter() -> None:
        with locks.hold("a"):
            entered.set()

    with locks.hold("a"), locks.hold("a"):
        other = threading.Thread(target=enter)
        other.start()
        with locks.hold("b"):
            assert not entered.is_set()
    other.join()
    assert entered.is_set()
    assert len(locks) == 0


def test_a_name_is_free_after_a_failure() -> None:
    locks = KeyedLocks()
    try:
        with locks.hold("a"):
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert len(locks) == 0
