"""Progress of an epoch: a bar on a terminal, else a line a minute."""

from __future__ import annotations

import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mammorisk.distributed.launch import is_main_rank
from mammorisk.runs.logs import CONSOLE, LOGGER

PLAIN_LINE_EVERY = 60.0  # seconds between lines of progress where there is no terminal


class EpochProgress:
    """Progress of an epoch: a bar on a terminal, else a line a minute. Only on the main process.

    Args:
        title: of the work.
        batches: number of batches in the whole epoch.
        done: batches done before (resumed in mid-epoch).
    """

    def __init__(self, title: str, batches: int, done: int = 0) -> None:
        self._title, self._batches, self._done = title, batches, done
        self._started, self._samples, self._last_line = time.monotonic(), 0, time.monotonic()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        if is_main_rank() and CONSOLE.is_terminal:
            words = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
            self._bar = Progress(
                *words, TextColumn("{task.fields[note]}"), TimeRemainingColumn(), console=CONSOLE, transient=True
            )
            self._task = self._bar.add_task(title, total=batches, completed=done, note="")

    def __enter__(self) -> EpochProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, samples: int, loss: float | None = None) -> None:
        """Count a batch of ``samples`` as done; ``loss`` if it is known without waiting for the device."""
        self._done += 1
        self._samples += samples
        now = time.monotonic()
        rate = self._samples / max(now - self._started, 1e-9)
        note = f"{rate:.1f} samples/s" + ("" if loss is None else f", loss {loss:.4f}")
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, note=note)
        elif is_main_rank() and now - self._last_line >= PLAIN_LINE_EVERY:
            self._last_line = now
            left = (self._batches - self._done) * samples / rate / 60
            LOGGER.info("%s: %d of %d batches, %s, %.1f min left", self._title, self._done, self._batches, note, left)
