"""Stop signals of a cluster: SIGTERM, SIGUSR1 and SIGUSR2."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from mammorisk.distributed.grace import LastResort
from mammorisk.errors import STOP_SIGNALS


class StopSignals:
    """Record of SIGTERM, SIGUSR1 and SIGUSR2, by which a cluster takes a node back; the loop ends its step and saves.

    A training that does not save within its grace time is ended anyway (``grace``).

    Raises:
        UserError: the grace time of the environment is not a number above 0.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.since: float | None = None  # time.monotonic() of the first
        self._last_resort = LastResort(self)
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        """Install the handlers (in the main thread; elsewhere the signals' handlers stay)."""
        handler: Callable[[int, FrameType | None], None] = self._note
        for number in STOP_SIGNALS:
            try:
                self._before[number] = signal.signal(number, handler)
            except ValueError:
                return self
        self._last_resort.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Restore the previous handlers."""
        self._last_resort.stop()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.since = time.monotonic() if self.since is None else self.since
        self.received = number
