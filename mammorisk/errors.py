"""The exceptions that are messages for people and not defects of ours."""

from __future__ import annotations

import signal

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # of clusters and people; SIGUSR2 is submitit's


class UserError(Exception):
    """Something the user can mend: bad value, missing file, impossible request.

    The text says what was expected, what was found and what to do. Commands print it without a stack trace and
    end with exit status 1; from Python it is an ordinary exception.
    """


class Stopped(Exception):  # noqa: N818  a signal is no error
    """A signal ended a training after it was saved. Commands end with exit status 128 + its number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        name = signal.Signals(self.number).name
        return f"stopped by {name}; the training is saved and goes on with trainer.resume_from=auto"
