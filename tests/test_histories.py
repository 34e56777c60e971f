"""Histories of one to five exams, missing views and missing priors, from files on disk to the loss of every model."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from helpers.cohorts import cohort_rows, write_cohort
from helpers.composed_configs import composed
from helpers.model_cases import SMALL, quick_model

from mammorisk.batch import VIEWS, Batch, InputSpec, collate
from mammorisk.config import DatasetConfig, options
from mammorisk.datasets.cohort import load_cohort
from mammorisk.datasets.risk_dataset import RiskDataset
from mammorisk.datasets.samples import build_samples
from mammorisk.errors import UserError

WOMEN = 5
MISSING = ("000004000004", ("L", "MLO"))  # the view that the only exam with four before it lacks
CASES = [
    (name, way)
    for name in options("model")
    if "missing_priors" in composed(f"model={name}").model
    for way in ("drop", "zero_gap", "mask")
]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> DatasetConfig:
    """Woman k has k exams, k = 1 … 5; the last exam of the fifth lacks L-MLO. All for training, half of them cases."""
    rows = pd.concat([cohort_rows(2 * WOMEN, exams).query(f"patient_id == '{exams - 1:06d}'") for exams in range(1, 6)])
    lacks = (rows["patient_id"] == "000004") & rows["exam_id"].str.startswith("0000044")
    lacks &= (rows["laterality"] == MISSING[1][0]) & (rows["view"] == MISSING[1][1])
    assert lacks.sum() == 1
    return write_cohort(tmp_path_factory.mktemp("histories"), rows[~lacks], image_size=list(SMALL))


def units_of(inputs: InputSpec) -> list[list[bool]]:
    """Of every series (woman; or her breast; or her view): for each exam, whether its unit is complete."""
    sides = {"exam": [VIEWS], "breast": [VIEWS[:2], VIEWS[2:]], "image": [(view,) for view in VIEWS]}[inputs.unit]
    return [
        [not (woman == 4 and exam == 4 and MISSING[1] in views) for exam in range(woman + 1)]
        for woman in range(WOMEN)
        for views in sides
    ]


def expected_samples(inputs: InputSpec) -> int:
    """How many samples there must be, counted one by one."""
    count = 0
    for complete in units_of(inputs):
        one_view = inputs.unit == "image"  # an image that is not there is no unit, whatever the setting
        usable = sum(complete) if inputs.missing_views == "drop" or one_view else len(complete)
        count += usable if inputs.missing_priors != "drop" else max(0, usable - inputs.exams + 1)
    return count


def samples_of(cohort: DatasetConfig, inputs: InputSpec) -> Batch:
    """All training samples of a model, read from disk, as one batch."""
    loaded = load_cohort(cohort)
    table = loaded.split("train")
    samples = build_samples(table, inputs, loaded.attrition)
    assert len(samples) == expected_samples(inputs), str(loaded.attrition)
    return collate(list(RiskDataset(samples, table, SMALL)))


def check_training_step(model: torch.nn.Module, batch: Batch) -> None:
    model.train()
    output = model(batch)
    loss = model.loss(output, batch)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert model.risk(output).isfinite().all()


@pytest.mark.parametrize(("name", "way"), CASES)
def test_every_longitudinal_model_takes_women_with_too_few_exams(cohort, name, way):
    model = quick_model(name, f"model.missing_priors={way}")
    batch = samples_of(cohort, model.inputs)
    repeated = (batch.time_gap[:, 0] == 0) & batch.view_mask[:, 0].any(1)
    assert bool(repeated.any()) == (way == "zero_gap")
    assert bool((~batch.view_mask[:, 0].any(1)).any()) == (way == "mask")
    check_training_step(model, batch)


@pytest.mark.parametrize("way", ["drop", "zero_gap", "mask"])
@pytest.mark.parametrize("views", ["drop", "mask"])
@pytest.mark.parametrize("exams", [1, 2, 3, 4, 5])
def test_vmra_mar_takes_one_to_five_exams(cohort, exams, way, views):
    model = quick_model(
        "vmra_mar", f"model.exams={exams}", f"model.missing_priors={way}", f"model.missing_views={views}"
    )
    if expected_samples(model.inputs) == 0:  # the only woman with five exams lacks a view in the last
        assert (exams, way, views) == (5, "drop", "drop")
        with pytest.raises(UserError, match=r"The split 'train' holds no sample for this model \(unit=exam, 5 exams"):
            samples_of(cohort, model.inputs)
        return
    batch = samples_of(cohort, model.inputs)
    assert batch.images.shape[1:3] == (exams, 4)
    check_training_step(model, batch)


@pytest.mark.parametrize("views", ["drop", "mask"])
def test_lmv_net_takes_breasts_that_lack_a_view(cohort, views):
    model = quick_model("lmv_net", f"model.missing_views={views}")
    batch = samples_of(cohort, model.inputs)
    assert bool((~batch.view_mask).any()) == (views == "mask")
    check_training_step(model, batch)
