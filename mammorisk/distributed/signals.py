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
    """Notes SIGTERM, SIGUSR1 and SIGUSR2: a cluster takes the node back, and the loop ends its step and saves.

    A training that does not come to it within its grace time is ended all the same (``grace``).

    Raises:
        UserError: the grace time of the environment is no number.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.since: float | None = None  # time.monotonic() of the first
        self._last_resort = LastResort(self)
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        """Start to listen (in the main thread; elsewhere signals stay as they were)."""
        handler: Callable[[int, FrameType | None], None] = self._note
        for number in STOP_SIGNALS:
            try:
                self._before[number] = signal.signal(number, handler)
            except ValueError:
                return self
        self._last_resort.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Give the signals back to whoever had them."""
        self._last_resort.stop()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.since = time.monotonic() if self.since is None else self.since
        self.received = number
