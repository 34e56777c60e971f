"""Tasks of worker processes in tests; the processes import them by this module's name."""

from __future__ import annotations

import os
import signal
import sys
import time


def chore(task: object) -> object:
    """Return, fail, crash or hang, as the task demands."""
    if task == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task == "leave":
        print("noise\nlast words", file=sys.stderr, flush=True)
        os._exit(7)
    if task == "hang":
        time.sleep(600)
    if task == "fail":
        raise ValueError("as asked for")
    if task == "odd":
        raise OddError(lambda: None)
    if task == "process":
        return os.getpid()
    return ("done", task)


class OddError(Exception):
    """Error that cannot be pickled."""
