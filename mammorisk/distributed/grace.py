"""The end of a training that was told to stop and does not come to it: it hangs, or waits for one that does.

A signal is noted, and heeded before the next batch. Where no next batch comes, nobody looks.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Protocol

from mammorisk.errors import UserError
from mammorisk.system.printing import tell

GRACE = "MAMMORISK_GRACE_SECONDS"  # environment variable
DEFAULT = 120.0  # as Slurm is asked for (signal_delay_s): one step and one save fit in


class Noted(Protocol):
    """A signal that has come, or not yet."""

    received: int | None  # its number
    since: float | None  # time.monotonic() of its coming


class LastResort:
    """A thread that ends this process when the grace time after a signal is over.

    It looks at a clock and takes no lock: a handler of signals may interrupt whoever holds one.

    Args:
        noted: where the signal stands.

    Raises:
        UserError: the environment's grace time is no number above 0.
    """

    def __init__(self, noted: Noted) -> None:
        self._noted, self._seconds = noted, grace_seconds()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Watch from now on."""
        self._stopped.clear()
        threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(min(1.0, self._seconds / 4)):
            number, since = self._noted.received, self._noted.since
            if number is not None and since is not None and time.monotonic() - since > self._seconds:
                self._end(number)

    def _end(self, number: int) -> None:
        tell(
            f"\nstopped by {signal.Signals(number).name}: within {self._seconds:g} s the training came to no point at "
            f"which it can be saved ({GRACE} sets that time).\n"
            "trainer.resume_from=auto goes on from the last checkpoint."
        )
        os._exit(128 + number)  # the main thread hangs


def grace_seconds() -> float:
    """Seconds between a signal to stop and the end of a training, from the environment.

    Raises:
        UserError: no number above 0.
    """
    given = os.environ.get(GRACE, str(DEFAULT))
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise UserError(f"{GRACE}={given}: expected a number of seconds above 0.")
    return seconds
