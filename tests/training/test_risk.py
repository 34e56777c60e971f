from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.epoch_predictions import output, predicted, samples_of
from helpers.model_cases import small_encoder
from torch import Tensor

from mammorisk.batch import Batch, RiskOutput
from mammorisk.errors import UserError
from mammorisk.metrics.training_measures import risk_metrics
from mammorisk.models.lmv_net import LMVNet
from mammorisk.registration.identity import IdentityRegistration
from mammorisk.training.predictions import Predictions, measures
from mammorisk.training.risk import RISK, true_risk_measures


def test_the_cohort_makes_the_measures_mean_something(table):
    assert (len(table), int(table.cases.sum())) == (24, 4)
    assert int(table.event[:, 0].sum()) == 3
    assert table.target_mask[:, -1].min() == 0  # some are seen for less than five years


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
