"""Predictions of a model for the samples of an epoch, and their measures."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mammorisk.batch import Batch, RiskOutput
from mammorisk.datasets.samples import SampleTable
from mammorisk.distributed.collectives import gather_by_sample
from mammorisk.distributed.errors import run_on_main_rank
from mammorisk.training.task import Task


class Predictions:
    """This process's outputs of the epoch so far, kept on the device until they are read."""

    def __init__(self) -> None:
        self._parts: list[dict[str, Tensor]] = []  # one per batch, on the device
        self._joined: dict[str, Tensor] = {}  # earlier batches, joined on the host

    def __len__(self) -> int:
        return sum(len(part["sample"]) for part in (*self._parts, self._joined) if part)

    def add(self, batch: Batch, output: RiskOutput) -> None:
        """Keep a batch's sample numbers, logits, scores and auxiliary losses."""
        part = {"sample": batch.sample.detach()}
        for name, logits in output.logits.items():
            part[f"logits/{name}"] = logits.detach().float()
        for name, loss in output.auxiliary.items():
            part[f"auxiliary/{name}"] = loss.detach().float().expand(len(batch))
        for name, score in output.scores.items():
            part[f"scores/{name}"] = score.detach().float()
        self._parts.append(part)

    def clear(self) -> None:
        """Remove all outputs, for the next epoch."""
        self._parts, self._joined = [], {}

    def state_dict(self) -> dict[str, Tensor]:
        """All parts joined, on the CPU; empty without any."""
        if self._parts:
            new = {name: torch.cat([part[name] for part in self._parts]).cpu() for name in self._parts[0]}
            old = self._joined
            self._joined = {name: torch.cat([old[name], new[name]]) for name in new} if old else new
            self._parts = []
        return dict(self._joined)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Replace all outputs by those of ``state_dict``."""
        self._parts, self._joined = [], dict(state)

    def gathered(self) -> tuple[np.ndarray, RiskOutput]:
        """Sample numbers in order, and the output for them, from all processes, each sample once. Collective."""
        own: dict[str, Any] = {name: tensor.numpy() for name, tensor in self.state_dict().items()}
        samples, values = gather_by_sample(own.pop("sample", np.empty(0, dtype=np.int64)), own)
        tensors = {name: torch.from_numpy(array) for name, array in values.items()}
        losses = {name: values.mean() for name, values in _under("auxiliary/", tensors).items()}
        return samples, RiskOutput(_under("logits/", tensors), losses, scores=_under("scores/", tensors))


def measures(task: Task, unwrapped_model: Any, samples: SampleTable, predictions: Predictions) -> dict[str, float]:
    """The task's measures of all processes' predictions, each sample counted once. Collective.

    Raises:
        UserError: a prediction is not a number; the message names samples.
    """
    seen, output = predictions.gathered()
    return run_on_main_rank(lambda: task.measure(unwrapped_model, samples, seen, output))


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
