"""Task of a training: its loss, its monitored measure, and the function that measures an epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mammorisk.batch import RiskOutput
from mammorisk.datasets.samples import SampleTable

# (model, samples of the split, numbers of those seen [N], outputs for them) -> measures by name
Measure = Callable[[Any, SampleTable, np.ndarray, RiskOutput], dict[str, float]]


@dataclass(frozen=True)
class Task:
    """The differences between risk and registration training, which share one loop.

    Attributes:
        loss: name of the loss among the measures.
        monitor: name of the measure that decides on the best epoch, the plateau schedule and early stopping; higher is
            better.
        measure: computes the measures of an epoch's outputs, ``loss`` and ``monitor`` among them.
        needs_cases: whether the measures need cases and controls in each split.
        chance_level: value of ``monitor`` for random predictions, for the learning curve; None: there is none.
    """

    loss: str
    monitor: str
    measure: Measure
    needs_cases: bool = False
    chance_level: float | None = None

    @property
    def monitor_key(self) -> str:
        """Column of metrics.csv that decides on the best epoch."""
        return f"Validation {self.monitor}"
