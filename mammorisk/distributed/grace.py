"""Forced end of a training that does not stop in time after a signal, because a process hangs.

The training loop reacts to a signal before the next batch. If no next batch comes, only this thread can end it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Protocol

from mammorisk.errors import UserError
from mammorisk.system.printing import print_error

GRACE = "MAMMORISK_GRACE_SECONDS"  # environment variable
DEFAULT = 120.0  # the same as signal_delay_s for Slurm: enough for one step and one save


class Noted(Protocol):
    """Record of a received signal."""

    received: int | None  # its number; None: not yet
    since: float | None  # time.monotonic() of its arrival


class LastResort:
    """Thread that ends this process when the grace time after a signal is over.

    It takes no lock, because a signal handler may interrupt the thread that holds one.

    Args:
        noted: record of the signal.

    Raises:
        UserError: the environment's grace time is not a number above 0.
    """

    def __init__(self, noted: Noted) -> None:
        self._noted, self._seconds = noted, grace_seconds()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start watching."""
        self._stopped.clear()
        threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(min(1.0, self._seconds / 4)):
            number, since = self._noted.received, self._noted.since
            if number is not None and since is not None and time.monotonic() - since > self._seconds:
                self._end(number)

    def _end(self, number: int) -> None:
        print_error(
            f"\nstopped by {signal.Signals(number).name}: within {self._seconds:g} s the training reached no point at "
            f"which it can be saved ({GRACE} sets that time).\n"
            "trainer.resume_from=auto goes on from the last checkpoint."
        )
        os._exit(128 + number)  # the main thread hangs


def grace_seconds() -> float:
    """Read the seconds between a stop signal and the forced end of a training from the environment.

    Raises:
        UserError: it is not a number above 0.
    """
    given = os.environ.get(GRACE, str(DEFAULT))
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise UserError(f"{GRACE}={given}: expected a number of seconds above 0.")
    return seconds
