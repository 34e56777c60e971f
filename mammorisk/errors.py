"""Exceptions that are messages for the user, not defects of mammorisk."""

from __future__ import annotations

import signal

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # of clusters and people; SIGUSR2 is submitit's


class UserError(Exception):
    """Error that the user can correct: bad value, missing file, impossible request.

    The text says what was expected, what was found and what to do. Commands print it without a stack trace and
    end with exit status 1; from Python it is an ordinary exception.
    """


class Stopped(Exception):  # noqa: N818  a signal is no error
    """End of a training by a signal; the training is saved first if that is possible.

    Commands end with exit status 128 + the signal's number.

    Args:
        number: of the signal.
        saved: whether the training was saved as it stood.
    """

    def __init__(self, number: int, saved: bool = True) -> None:
        super().__init__(number, saved)
        self.number, self.saved = number, saved

    def __str__(self) -> str:
        name = signal.Signals(self.number).name
        if not self.saved:
            return (
                f"stopped by {name} while images were waited for, between two steps of the optimiser: "
                "trainer.resume_from=auto goes on from the last checkpoint"
            )
        return f"stopped by {name}; the training is saved and goes on with trainer.resume_from=auto"
