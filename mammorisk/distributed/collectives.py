"""Collective operations on objects, samples and buffers of all ranks.

torch and numpy are imported at their first use, because a single process prints ``--help`` without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from mammorisk.distributed.launch import world_size

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor, nn

T = TypeVar("T")


def broadcast_object(value: T) -> T:
    """Return rank 0's value on all ranks. Collective: every rank must call it."""
    if world_size() == 1:
        return value
    import torch

    box: list[Any] = [value]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]  # type: ignore[no-any-return]


def all_gather_objects(value: T) -> list[T]:
    """Return every rank's value, in the order of ranks, on all ranks. Collective."""
    if world_size() == 1:
        return [value]
    import torch

    box: list[Any] = [None] * world_size()
    torch.distributed.all_gather_object(box, value)
    return box


def gather_by_sample(
    sample: npt.NDArray[np.int64], values: Mapping[str, npt.NDArray[np.float32]]
) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[np.float32]]]:
    """Gather the rows of all ranks, each sample once, in the order of samples (docs/pitfalls.md#p8). Collective.

    Args:
        sample: [n] row numbers of this rank's samples; repeats are allowed, and n may be 0.
        values: name -> [n, ...] values of these samples; the same names on all ranks with samples.

    Returns:
        [N] sorted unique row numbers, and name -> [N, ...]; of a repeated sample the value that a single process would
        compute first (samplers give rank r every ``world_size``-th sample).
    """
    import numpy as np

    parts = [(rows, named) for rows, named in all_gather_objects((sample, dict(values))) if len(rows)]
    if not parts:
        return sample, dict(values)
    turn = np.argsort(np.concatenate([np.arange(len(rows)) for rows, _ in parts]), kind="stable")
    unique, first = np.unique(np.concatenate([rows for rows, _ in parts])[turn], return_index=True)
    chosen = turn[first]
    return unique, {name: np.concatenate([named[name] for _, named in parts])[chosen] for name in parts[0][1]}


def broadcast_buffers(module: nn.Module) -> None:
    """Copy rank 0's buffers to all ranks (batch-norm statistics drift apart between synchronised forwards)."""
    if world_size() == 1:
        return
    import torch

    for buffer in module.buffers():
        torch.distributed.broadcast(buffer, src=0)


def share_of_known_years(target_mask: Tensor) -> Tensor | None:
    """Ratio of this process's number of known years to the mean of all processes, [T]; None for a single process.

    Gradients are averaged over processes. A loss that is a mean over the known years of its batch is multiplied by
    this ratio. The average over processes is then the mean over the known years of all batches, as in one process
    with all samples. Collective; waits for no GPU.

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
