"""Risk training: its task, and the measures of an epoch."""

from __future__ import annotations

import numpy as np
import torch

from mammorisk.batch import RiskOutput
from mammorisk.datasets.samples import SampleTable
from mammorisk.errors import UserError
from mammorisk.metrics.training_measures import risk_metrics
from mammorisk.models.base import RiskModel
from mammorisk.training.task import Task


def measure_risk(model: RiskModel, samples: SampleTable, seen: np.ndarray, output: RiskOutput) -> dict[str, float]:
    """``Risk Loss`` and the risk metrics.

    The loss is the model's own over the whole epoch at once, so that neither batch size nor number of processes
    matters.

    Raises:
        UserError: a risk is not a number; the message names samples.
    """
    labels = samples.labels(seen)
    risk = model.risk(output)
    bad = ~torch.isfinite(risk).all(1)
    if bool(bad.any()):
        names = ", ".join(str(samples.sample_id[i]) for i in seen[bad.numpy()][:5])
        raise UserError(
            f"The model gives no finite risk for {int(bad.sum())} of {len(seen)} samples, the first of them {names}.\n"
            "The weights diverged: lower optim.learning_rate or set optim.max_grad_norm=1, and go on from an "
            "earlier checkpoint."
        )
    loss = float(model.loss(output, labels))
    event, year = labels.event[:, -1].numpy(), labels.event_index[:, -1].numpy()
    return {"Risk Loss": loss, **risk_metrics(risk.numpy(), event, year)}


RISK = Task(loss="Risk Loss", monitor="C-index", measure=measure_risk, needs_cases=True, chance_level=0.5)


def true_risk_measures(samples: SampleTable) -> dict[str, float]:
    """The risk metrics of the true risk, if the cohort is simulated (a phantom); else empty."""
    if samples.true_risk is None:
        return {}
    return risk_metrics(samples.true_risk, samples.event[:, -1], samples.event_index[:, -1])
