from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.epoch_predictions import directly, in_batches, output, predicted
from helpers.model_cases import random_batch

from mammorisk.batch import InputSpec, RiskOutput
from mammorisk.training.predictions import Predictions, measures
from mammorisk.training.risk import RISK


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
