"""Outputs and predictions of an epoch over a small cohort."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from helpers.cohorts import cohort_rows, write_cohort
from mammorisk.batch import InputSpec, RiskOutput
from mammorisk.datasets.attrition import Attrition
from mammorisk.datasets.cohort import load_cohort
from mammorisk.datasets.samples import SampleTable, build_samples
from mammorisk.metrics.training_measures import risk_metrics
from mammorisk.models.lmv_net import LMVNet
from mammorisk.training.predictions import Predictions

HEADS = ("multi", "cc", "mlo")


def samples_of(folder: Path, inputs: InputSpec = InputSpec("breast", exams=2), true_risk: bool = False) -> SampleTable:  # noqa: B008
    rows = cohort_rows(24)
    rows["years_to_last_followup"] = rows["patient_id"].isin(["000000", "000003"]).map({True: "2", False: "9"})
    late = rows["patient_id"] == "000001"  # her cancer is within five years of the last exam only
    rows.loc[late, "years_to_cancer"] = rows.loc[late, "years_to_cancer"].replace({"3": "6", "1": "4"})
    for kind in ("true_risk", "true_risk_breast") if true_risk else ():
        for year in range(1, 6):
            sooner = (0.5 - 0.05 * pd.to_numeric(rows["years_to_cancer"])).fillna(0.0)
            risk = 0.1 * year + sooner + 0.001 * (kind == "true_risk")
            rows[f"{kind}_{year}y"] = risk.map("{:.3f}".format)
    cohort = load_cohort(write_cohort(folder, rows))
    return build_samples(cohort.split("train"), inputs, Attrition())


def output(samples: Tensor, auxiliary: bool = True) -> RiskOutput:
    """Logits that follow from the samples' numbers, as a network's would from their images."""
    rows = [torch.randn(3, 5, generator=torch.Generator().manual_seed(int(n))).cumsum(1) for n in samples]
    logits = torch.stack(rows)  # [B, heads, Y]
    return RiskOutput(
        {name: logits[:, i] for i, name in enumerate(HEADS)},
        auxiliary={"smooth": logits.abs().mean()} if auxiliary else {},
    )


def predicted(table: SampleTable, *batches: list[int], auxiliary: bool = False) -> Predictions:
    predictions = Predictions()
    for rows in batches:
        batch = table.labels(np.array(rows))
        predictions.add(batch, output(batch.sample, auxiliary))
    return predictions


def in_batches(order: list[int], size: int) -> list[list[int]]:
    return [order[i : i + size] for i in range(0, len(order), size)]


def directly(model: LMVNet, table: SampleTable) -> dict[str, float]:
    """The measures of all samples at once, without ``Predictions``."""
    every = np.arange(len(table))
    whole = output(torch.from_numpy(every), auxiliary=False)
    loss = model.loss(whole, table.labels(every))
    risk = torch.sigmoid(whole.logits["multi"]).numpy()
    return {"Risk Loss": float(loss), **risk_metrics(risk, table.event[:, -1], table.event_index[:, -1])}
