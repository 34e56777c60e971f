"""Simultaneous start of many equal trainings: python many_runs.py COUNT OVERRIDE...

To import the libraries in each process would take minutes, and the starts would no longer coincide. So one process
imports them and forks; its children wait until the same pipe is closed.
"""

from __future__ import annotations

import gc
import os
import sys

import matplotlib.backends.backend_agg  # noqa: F401  as the rest, for the children
import torch._dynamo
import torch.distributed.fsdp  # noqa: F401

import mammorisk.cli.train
import mammorisk.training.loop
import mammorisk.training.setup
import mammorisk.training.summary


def main() -> int:
    """Start the trainings, wait, and return the number of failures; each one's output goes to ``run_NUMBER.log``."""
    count, overrides = int(sys.argv[1]), sys.argv[2:]
    gc.freeze()  # what is read already stays shared
    reading, writing = os.pipe()
    children = [os.fork() or run(number, overrides, reading, writing) for number in range(count)]
    os.close(writing)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return sum(status != 0 for status in statuses)


def run(number: int, overrides: list[str], reading: int, writing: int) -> int:
    """Run one training in a child process; does not return."""
    os.close(writing)
    words = os.open(f"run_{number}.log", os.O_CREAT | os.O_WRONLY)
    os.dup2(words, 1)
    os.dup2(words, 2)
    status = 1
    try:
        sys.argv[1:] = overrides
        os.read(reading, 1)  # returns when nobody can write any more
        mammorisk.cli.train.main()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.stdout.flush()
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
