"""Processes of a run: start, agreement, gathering by sample, world size, signals.

torch and numpy are imported where they are used: a single process answers ``--help`` without them.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from mammorisk.errors import STOP_SIGNALS, UserError
from mammorisk.grace import LastResort
from mammorisk.run_directory import STAMP, new_stamp
from mammorisk.watch import say_goodbye, wait_for_bad_news, watch_over_processes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor, nn

T = TypeVar("T")
NOT_HYDRAS_FILES = "hydra.output_subdir=null"  # override for all ranks but 0, which alone writes .hydra/
_MEETING = timedelta(minutes=5)  # that processes may take to start; nodes read Python from a slow disk


def world_size() -> int:
    """Number of processes of this run, from the launcher's environment."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Number of this process among those of the run, from the launcher's environment."""
    return int(os.environ.get("RANK", "0"))


def is_main_rank() -> bool:
    """Whether this process is rank 0: the one that writes, logs and decides."""
    return rank() == 0


def start_processes() -> None:
    """Join the other processes of the run, if there are any, and agree on the run's time stamp.

    Done before Hydra makes the run directory. The group speaks gloo between CPUs and NCCL between GPUs.
    """
    join_processes()
    os.environ[STAMP] = agree(new_stamp())
    if not is_main_rank():
        sys.argv.append(NOT_HYDRAS_FILES)


def join_processes() -> None:
    """Join the other processes of the run, if there are any, and watch over them from now on.

    The group speaks gloo between CPUs and NCCL between GPUs.

    Raises:
        UserError: the others are not to be found, or the port is taken.
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
        # The main process may read a large cohort for long while the others wait; a dead process is noticed at once.
        torch.distributed.init_process_group(
            backend, store=store, rank=rank(), world_size=world_size(), timeout=timedelta(hours=12)
        )
        watch_over_processes(store, rank(), world_size())
    except (torch.distributed.DistNetworkError, torch.distributed.DistStoreError, OSError) as error:
        raise UserError(_no_meeting(error)) from error


def _no_meeting(error: Exception) -> str:
    where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
    if "EADDRINUSE" in str(error):
        return (
            f"The {world_size()} processes of this run cannot meet: another program uses the port of {where}.\nStart "
            "with another one: `torchrun --rdzv-backend c10d --rdzv-endpoint localhost:0` finds a free port by itself; "
            "in a Slurm job set the variable MASTER_PORT."
        )
    return (
        f"The {world_size()} processes of this run have not met at {where} within {_MEETING}: "
        f"{str(error).splitlines()[0]}\nLook whether all have started, and whether their nodes may reach that address "
        "(MASTER_ADDR, MASTER_PORT)."
    )


def end_processes(after_defect: bool = False) -> None:
    """Leave the process group, if there is one.

    Args:
        after_defect: an exception that the others do not know of ends this process, and is to end them.
    """
    if world_size() > 1 and after_defect:
        wait_for_bad_news()
    elif world_size() > 1:
        import torch

        say_goodbye()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def agree(value: T) -> T:
    """Rank 0's value, on all ranks. Collective: every rank must call it."""
    if world_size() == 1:
        return value
    import torch

    box: list[Any] = [value]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]  # type: ignore[no-any-return]


def gather(value: T) -> list[T]:
    """Every rank's value in the order of ranks, on all ranks. Collective."""
    if world_size() == 1:
        return [value]
    import torch

    box: list[Any] = [None] * world_size()
    torch.distributed.all_gather_object(box, value)
    return box


def gather_by_sample(
    sample: npt.NDArray[np.int64], values: Mapping[str, npt.NDArray[np.float32]]
) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[np.float32]]]:
    """All ranks' rows, each sample once, in the order of samples (specs: pitfall 8). Collective.

    Args:
        sample: [n] row numbers of the samples this rank has seen; repeats are allowed, and none at all.
        values: name -> [n, ...] what was computed for them; the same names on all ranks that have samples.

    Returns:
        [N] sorted unique row numbers, and name -> [N, ...]; of a repeated sample what was computed first, as a single
        process would have: the samplers deal samples out to the ranks in turn.
    """
    import numpy as np

    parts = [(rows, named) for rows, named in gather((sample, dict(values))) if len(rows)]
    if not parts:
        return sample, dict(values)
    turn = np.argsort(np.concatenate([np.arange(len(rows)) for rows, _ in parts]), kind="stable")
    unique, first = np.unique(np.concatenate([rows for rows, _ in parts])[turn], return_index=True)
    chosen = turn[first]
    return unique, {name: np.concatenate([named[name] for _, named in parts])[chosen] for name in parts[0][1]}


def broadcast_buffers(module: nn.Module) -> None:
    """Give all ranks rank 0's buffers (batch-norm statistics drift apart between synchronised forwards)."""
    if world_size() == 1:
        return
    import torch

    for buffer in module.buffers():
        torch.distributed.broadcast(buffer, src=0)


def share_of_known_years(target_mask: Tensor) -> Tensor | None:
    """This process's known years of each exam over the mean of all processes, [T]; None for a single process.

    Gradients are averaged over processes. A loss that is a mean over the known years of its batch, times this share, is
    averaged to the mean over the known years of all batches together: the loss of one process with all their samples.
    Collective; waits for no GPU.

    Args:
        target_mask: [B, T, Y] of this process's batch.
    """
    if world_size() == 1:
        return None
    import torch

    known = target_mask.sum((0, 2))  # [B, T, Y] -> [T]
    everywhere = known.clone()
    torch.distributed.all_reduce(everywhere)
    return world_size() * known / everywhere.clamp(min=1)


def check_world_size(wanted: int | None) -> None:
    """Refuse to run with another number of processes than was asked for (specs: pitfall 22).

    ``wanted`` is ``trainer.num_processes``; without it, what ``accelerate launch`` was told is read from its command
    line, because on a CPU it starts one process whatever ``--num_processes`` says.

    Raises:
        UserError: the numbers differ.
    """
    asked = wanted if wanted is not None else _asked_of_accelerate()
    if asked is not None and asked != world_size():
        raise UserError(
            f"You asked for {asked} processes, but {world_size()} started.\n"
            f"On CPUs use `torchrun --nproc-per-node {asked} -m mammorisk.train …` or `accelerate launch --multi_gpu "
            f"--num_processes {asked} -m mammorisk.train … trainer.cpu=true`\n"
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
