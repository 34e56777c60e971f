"""Learning-rate schedules: linear warm-up over steps, then decay by epoch: on a plateau, after each epoch, or both."""

from __future__ import annotations

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau


class Schedules:
    """Schedules of a training: warm-up from 0 to the base rates, then reduction on a plateau of the monitored measure.

    That measure is the validation C-index of a risk model, or the validation NCC of a registration network.

    Do not pass them to ``accelerator.prepare``, which would step them once per process (docs/pitfalls.md#p7).

    Args:
        optimizer: whose groups' rates are set.
        warmup_steps: optimiser steps from 0 to the base rate; 0 starts at the base rate.
        use_plateau: whether to reduce on a plateau.
        patience: epochs without a better value before a reduction.
        decay: factor of a reduction.
        min_lr: lowest rate.
        decay_per_epoch: factor of the rates after every epoch beyond the warm-up.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_steps: int,
        use_plateau: bool = True,
        patience: int = 5,
        decay: float = 0.5,
        min_lr: float = 1e-7,
        decay_per_epoch: float = 1.0,
    ) -> None:
        self.optimizer, self.warmup_steps = optimizer, warmup_steps
        self.min_lr, self.decay_per_epoch = min_lr, decay_per_epoch
        self.steps = 0
        self.warmup = LambdaLR(optimizer, lambda step: min(1.0, step / warmup_steps) if warmup_steps else 1.0)
        self.plateau = (
            ReduceLROnPlateau(optimizer, mode="max", factor=decay, patience=patience, min_lr=min_lr)
            if use_plateau
            else None
        )

    @property
    def learning_rate(self) -> float:
        """Rate of the first group, the new modules."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self) -> None:
        """Update the rates after an optimiser step."""
        if self.steps < self.warmup_steps:  # beyond, LambdaLR would undo the plateau's reductions
            self.warmup.step()
        self.steps += 1

    def end_epoch(self, monitored: float) -> None:
        """Update the rates after an epoch; NaN and epochs within the warm-up do not count."""
        if self.steps < self.warmup_steps:
            return
        if self.plateau is not None and math.isfinite(monitored):
            self.plateau.step(float(monitored))
        if self.decay_per_epoch != 1:
            for group in self.optimizer.param_groups:
                group["lr"] = max(self.min_lr, group["lr"] * self.decay_per_epoch)

    def state_dict(self) -> dict[str, Any]:
        """State as plain values (docs/pitfalls.md#p10)."""
        plateau = self.plateau.state_dict() if self.plateau is not None else {}
        return {"steps": self.steps, "warmup": self.warmup.state_dict(), "plateau": plateau}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that ``state_dict`` returned."""
        self.steps = state["steps"]
        self.warmup.load_state_dict(state["warmup"])
        if self.plateau is not None and state["plateau"]:
            self.plateau.load_state_dict(state["plateau"])
