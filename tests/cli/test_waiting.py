"""How a server hears that it has to stop."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from ociworks.cli._waiting import until_told

_BUSY_ELSEWHERE = """
import os, signal, threading
from ociworks.cli._waiting import until_told

main = threading.main_thread().native_id

def tell():
    while open(f"/proc/self/task/{main}/stat").read().rpartition(")")[2].split()[0] != "S":
        pass
    os.kill(os.getpid(), signal.SIGTERM)

with until_told() as wait:
    thread = threading.Thread(target=tell)
    thread.start()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    wait()
    thread.join()
print("told")
"""


def test_a_signal_that_another_thread_receives() -> None:
    """The thread that waits is not interrupted by it, and hears of it all the same."""
    done = subprocess.run(
        [sys.executable, "-c", _BUSY_ELSEWHERE], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "told\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_anybody_waits(number: signal.Signals) -> None:
    """It is not lost, and everything is as before at the end."""
    before = signal.getsignal(number)
    with until_told() as wait:
        signal.raise_signal(number)
        assert signal.getsignal(number) is signal.SIG_DFL
        wait()
    assert signal.getsignal(number) is before
    assert signal.set_wakeup_fd(-1) == -1


def test_other_signals_do_not_end_it() -> None:
    """Only the two that ask for it."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with until_told() as wait:
            signal.raise_signal(signal.SIGUSR1)
            signal.raise_signal(signal.SIGTERM)
            wait()
    finally:
        signal.signal(signal.SIGUSR1, before)
