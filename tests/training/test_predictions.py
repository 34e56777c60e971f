from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.cohorts import cohort_rows, write_cohort
from helpers.model_cases import random_batch, small_encoder
from torch import Tensor

from mammorisk.batch import Batch, InputSpec, RiskOutput
from mammorisk.datasets.attrition import Attrition
from mammorisk.datasets.cohort import load_cohort
from mammorisk.datasets.samples import SampleTable, build_samples
from mammorisk.errors import UserError
from mammorisk.metrics.summary import risk_metrics
from mammorisk.models.lmv_net import LMVNet
from mammorisk.registration.identity import IdentityRegistration
from mammorisk.training.predictions import RISK, Predictions, measures, true_risk_measures

HEADS = ("multi", "cc", "mlo")


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> SampleTable:
    """24 breasts with a prior exam, 4 of them cases."""
    return samples_of(tmp_path_factory.mktemp("cohort"))


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


@pytest.fixture(scope="module")
def model() -> LMVNet:
    torch.manual_seed(0)
    return LMVNet(small_encoder(), IdentityRegistration())


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


def test_the_cohort_makes_the_measures_mean_something(table):
    assert (len(table), int(table.cases.sum())) == (24, 4)
    assert int(table.event[:, 0].sum()) == 3
    assert table.target_mask[:, -1].min() == 0  # some are seen for less than five years


@pytest.mark.parametrize("size", [1, 5, 24])
def test_measures_are_those_of_the_whole_split_at_once(model, table, size):
    order = np.random.default_rng(size).permutation(len(table)).tolist()
    found = measures(RISK, model, table, predicted(table, *in_batches(order, size)))
    expected = directly(model, table)
    assert list(found) == list(expected)
    assert all(math.isfinite(value) for value in found.values())
    assert found == pytest.approx(expected, rel=1e-6)
    assert all(type(value) is float for value in found.values())


def test_pitfall_08_a_repeated_sample_counts_once(model, table):
    every = list(range(len(table)))
    once = measures(RISK, model, table, predicted(table, every))
    cases = np.flatnonzero(table.cases).tolist()
    assert measures(RISK, model, table, predicted(table, every, cases * 3)) == once
    assert len(predicted(table, every, cases * 3)) == len(table) + 3 * len(cases)  # all are kept


def test_a_sample_that_was_not_seen_does_not_count(model, table):
    half = list(range(0, len(table), 2))
    samples, gathered = predicted(table, half[::-1]).gathered()
    assert samples.tolist() == half
    assert torch.equal(gathered.logits["cc"], output(torch.tensor(half)).logits["cc"])
    assert measures(RISK, model, table, predicted(table, half)) != measures(
        RISK, model, table, predicted(table, list(range(24)))
    )


def test_the_state_goes_on_in_the_middle_of_an_epoch(model, table, tmp_path):
    order = list(range(len(table)))[::-1]
    first = predicted(table, order[:7], order[7:10])
    torch.save(first.state_dict(), tmp_path / "state.pth")
    second = predicted(table, [0, 1, 2])  # of another epoch
    second.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
    assert len(second) == 10
    for predictions in (first, second):
        batch = table.labels(np.array(order[10:]))
        predictions.add(batch, output(batch.sample, auxiliary=False))
    assert measures(RISK, model, table, first) == measures(RISK, model, table, second)
    assert measures(RISK, model, table, first) == pytest.approx(directly(model, table), rel=1e-6)


def test_the_state_of_nothing_is_empty_and_can_be_loaded(table):
    predictions = Predictions()
    assert predictions.state_dict() == {}
    full = predicted(table, [1, 2])
    full.load_state_dict({})
    assert len(full) == 0
    full.load_state_dict(predicted(table, [3]).state_dict())
    full.clear()
    assert (len(full), full.state_dict()) == (0, {})


def test_taking_the_state_keeps_it(table):
    predictions = predicted(table, [4, 2], [3])
    first, second = predictions.state_dict(), predictions.state_dict()
    assert first["sample"].tolist() == [4, 2, 3]
    assert all(torch.equal(first[name], second[name]) for name in first)
    first.clear()
    assert len(predictions) == 3


def test_nothing_is_kept_of_the_graph_and_half_precision_becomes_float(table):
    batch = table.labels(np.array([1, 2]))
    logits = torch.randn(2, 5, requires_grad=True).to(torch.bfloat16)
    predictions = Predictions()
    predictions.add(batch, RiskOutput({"risk": logits}, auxiliary={"l": logits.mean()}))
    state = predictions.state_dict()
    assert state["logits/risk"].dtype == torch.float32
    assert not any(tensor.requires_grad for tensor in state.values())


def test_auxiliary_losses_are_averaged_over_samples(model, table):
    predictions = predicted(table, [0, 1, 2], [3], auxiliary=True)
    _, gathered = predictions.gathered()
    context = [float(output(torch.tensor(rows)).auxiliary["smooth"]) for rows in ([0, 1, 2], [3])]
    assert float(gathered.auxiliary["smooth"]) == pytest.approx((3 * context[0] + context[1]) / 4)
    with_it = measures(RISK, model, table, predictions)["Risk Loss"]
    without = measures(RISK, model, table, predicted(table, [0, 1, 2], [3]))["Risk Loss"]
    assert with_it - without == pytest.approx(float(gathered.auxiliary["smooth"]), rel=1e-5)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_risk_that_is_no_number_names_its_samples(model, table, bad):
    class Runaway(LMVNet):
        def risk(self, given: RiskOutput) -> Tensor:
            return torch.where(given.logits["multi"] > 1e6, bad, super().risk(given))

    runaway = Runaway(small_encoder(), IdentityRegistration())
    batch = table.labels(np.arange(24))
    given = output(batch.sample, auxiliary=False)
    given.logits["multi"][[3, 20], 2] = 1e7
    predictions = Predictions()
    predictions.add(batch, given)
    with pytest.raises(UserError) as caught:
        measures(RISK, runaway, table, predictions)
    text = str(caught.value)
    assert "no finite risk for 2 of 24 samples" in text
    assert f"{table.sample_id[3]}, {table.sample_id[20]}." in text
    assert "optim.learning_rate" in text


def test_nan_logits_are_found(model, table):
    batch = table.labels(np.arange(24))
    given = output(batch.sample, auxiliary=False)
    given.logits["multi"][:] = math.nan
    predictions = Predictions()
    predictions.add(batch, given)
    with pytest.raises(UserError, match="24 of 24") as caught:
        measures(RISK, model, table, predictions)
    assert str(caught.value).count("/") == 5 * str(table.sample_id[0]).count("/")  # five names are enough


def test_only_the_current_exams_label_counts(model, table):
    labels: Batch = table.labels(np.arange(24))
    assert not torch.equal(labels.target[:, 0], labels.target[:, 1])
    found = measures(RISK, model, table, predicted(table, list(range(24))))
    scores = torch.sigmoid(output(labels.sample).logits["multi"]).numpy()
    prior = risk_metrics(scores, labels.event[:, 0].numpy(), labels.event_index[:, 0].numpy())
    assert found["C-index"] != prior["C-index"]


def test_the_true_risk_is_measured_where_the_cohort_knows_it(table, tmp_path):
    assert true_risk_measures(table) == {}
    known = samples_of(tmp_path, true_risk=True)
    found = true_risk_measures(known)
    assert found == risk_metrics(known.true_risk, known.event[:, -1], known.event_index[:, -1])
    assert found["C-index"] == 1.0  # it ranks every case by her time
    assert "Risk Loss" not in found


def test_what_comes_after_a_save_may_be_on_another_device(monkeypatch):
    """Saved parts are on the host, new ones where the model is (here a device without values stands for a GPU)."""
    joined, cat = [], torch.cat
    monkeypatch.setattr(
        torch, "cat", lambda context, *more: joined.append([p.device.type for p in context]) or cat(context, *more)
    )
    predictions, logits = Predictions(), torch.rand(2, 5)
    for device in ("cpu", "meta"):
        batch = random_batch(InputSpec("exam", exams=1), 2, size=(8, 8)).to(device)
        predictions.add(batch, RiskOutput({"risk": logits.to(device)}))
        if device == "cpu":
            assert torch.equal(predictions.state_dict()["logits/risk"], logits)
    assert len(predictions) == 4
    with pytest.raises(NotImplementedError):  # this device has no values to give
        predictions.state_dict()
    assert ["meta"] in joined  # what is new is joined where it is
    assert all(len(set(devices)) == 1 for devices in joined)
