"""Start of a run's processes, with one time stamp for their run directory."""

from __future__ import annotations

import os
import sys

from mammorisk.distributed.collectives import broadcast_object
from mammorisk.distributed.launch import is_main_rank, join_processes
from mammorisk.runs.directory import STAMP, new_stamp

NOT_HYDRAS_FILES = "hydra.output_subdir=null"  # override for all ranks but 0, which alone writes .hydra/


def start_processes() -> None:
    """Join the other processes of the run, if there are any, and share the run's time stamp.

    Must precede Hydra's creation of the run directory. The group uses gloo between CPUs and NCCL between GPUs.
    """
    join_processes()
    os.environ[STAMP] = broadcast_object(new_stamp())
    if not is_main_rank():
        sys.argv.append(NOT_HYDRAS_FILES)
