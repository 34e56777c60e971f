"""Process group of a run: rank, world size, start and end.

torch is imported at its first use, because a single process prints ``--help`` without it.
"""

from __future__ import annotations

import os
from datetime import timedelta

from mammorisk.distributed.watchdog import announce_exit, wait_for_peer_failure, watch_over_processes
from mammorisk.errors import UserError

_MEETING = timedelta(minutes=5)  # for all processes to start; nodes may read Python from a slow disk


def world_size() -> int:
    """Number of processes of this run, from the launcher's environment."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Number of this process among those of the run, from the launcher's environment."""
    return int(os.environ.get("RANK", "0"))


def is_main_rank() -> bool:
    """Whether this process is rank 0, which writes, logs and decides."""
    return rank() == 0


def join_processes() -> None:
    """Join the other processes of the run, if there are any, and start to watch over them.

    The group uses gloo between CPUs and NCCL between GPUs.

    Raises:
        UserError: the others cannot be reached, or the port is taken.
    """
    if world_size() == 1:
        return
    import torch

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    try:
        meeting = torch.distributed.rendezvous("env://", rank(), world_size(), timeout=_MEETING)  # type: ignore[attr-defined]
        store, _, _ = next(meeting)
        # A long timeout: the main process may read a large cohort while the others wait, and the watchdog detects a
        # dead process at once.
        torch.distributed.init_process_group(
            backend, store=store, rank=rank(), world_size=world_size(), timeout=timedelta(hours=12)
        )
        watch_over_processes(store, rank(), world_size())
    except (torch.distributed.DistNetworkError, torch.distributed.DistStoreError, OSError) as error:
        raise UserError(_no_meeting(error)) from error


def _no_meeting(error: Exception) -> str:
    address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    if "EADDRINUSE" in str(error):
        return (
            f"The {world_size()} processes of this run cannot meet: another program uses the port of {address}.\nStart "
            "with another one: `torchrun --rdzv-backend c10d --rdzv-endpoint localhost:0` finds a free port by itself; "
            "in a Slurm job set the variable MASTER_PORT."
        )
    return (
        f"The {world_size()} processes of this run have not met at {address} within {_MEETING}: "
        f"{str(error).splitlines()[0]}\nCheck that all have started and that their nodes can reach that address "
        "(MASTER_ADDR, MASTER_PORT)."
    )


def end_processes(after_defect: bool = False) -> None:
    """Leave the process group, if there is one.

    Args:
        after_defect: an exception of this process alone ends it, and must also end the others.
    """
    if world_size() > 1 and after_defect:
        wait_for_peer_failure()
    elif world_size() > 1:
        import torch

        announce_exit()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def check_world_size(wanted: int | None) -> None:
    """Check that the run has the requested number of processes (docs/pitfalls.md#p22).

    ``wanted`` is ``trainer.num_processes``. Without it, the number is read from the command line of ``accelerate
    launch``, because on a CPU that starts one process whatever ``--num_processes`` is.

    Raises:
        UserError: the numbers differ.
    """
    asked = wanted if wanted is not None else _asked_of_accelerate()
    if asked is not None and asked != world_size():
        raise UserError(
            f"You asked for {asked} processes, but {world_size()} started.\n"
            f"On CPUs use `torchrun --nproc-per-node {asked} -m mammorisk.cli.train …` or `accelerate launch "
            f"--multi_gpu --num_processes {asked} -m mammorisk.cli.train … trainer.cpu=true`\n"
            "(`accelerate launch` without --multi_gpu starts a single process where there is at most one GPU)."
        )


def _asked_of_accelerate() -> int | None:
    import psutil

    try:
        words = psutil.Process().parent().cmdline()
    except (psutil.Error, AttributeError):
        return None
    if not any("accelerate" in word for word in words[:3]):
        return None
    for i, word in enumerate(words):
        name, _, value = word.partition("=")
        if name in ("--num_processes", "--num-processes"):
            value = value or (words[i + 1] if i + 1 < len(words) else "")
            return int(value) if value.isdigit() else None
    return None
