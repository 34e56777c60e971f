"""What a training is for: the name of its loss, the measure that tells the best epoch, and how measures are taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mammorisk.batch import RiskOutput
from mammorisk.datasets.samples import SampleTable

# (learner, samples of the split, numbers of those seen [N], outputs for them) -> measures by name
Measure = Callable[[Any, SampleTable, np.ndarray, RiskOutput], dict[str, float]]


@dataclass(frozen=True)
class Task:
    """Risk and registration are trained by one loop; this is what tells them apart.

    Attributes:
        loss: name of the loss among the measures.
        goal: name of the measure that is to rise; the plateau schedule, the best model and early stopping look at it.
        measure: takes the measures of an epoch's outputs, ``loss`` and ``monitor`` among them.
        needs_cases: whether the measures need cases and controls in each split.
        chance: value of ``monitor`` without any knowledge, for the learning curve; None: there is none.
    """

    loss: str
    monitor: str
    measure: Measure
    needs_cases: bool = False
    chance_level: float | None = None

    @property
    def monitor_key(self) -> str:
        """Column of the metrics that tells the best epoch."""
        return f"Validation {self.monitor}"
