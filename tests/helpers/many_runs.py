"""Starts one training many times in the same moment: python many_runs.py COUNT OVERRIDE...

Reading Python's libraries anew for each would take minutes and hide that they start together; so one process reads them
and splits, and its children wait for the same pipe to be closed.
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
    """Start, wait, and tell how many failed; each one's words go to ``run_NUMBER.log``."""
    count, overrides = int(sys.argv[1]), sys.argv[2:]
    gc.freeze()  # what is read already stays shared
    reading, writing = os.pipe()
    children = [os.fork() or run(number, overrides, reading, writing) for number in range(count)]
    os.close(writing)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return sum(status != 0 for status in statuses)


def run(number: int, overrides: list[str], reading: int, writing: int) -> int:
    """A child's life: it does not return."""
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
