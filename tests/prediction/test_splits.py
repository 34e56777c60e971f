from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.training_runs import only_run, train
from helpers.untrained_checkpoints import as_trained

from mammorisk.metrics.training_measures import risk_metrics
from mammorisk.prediction.splits import RISK_COLUMNS, split_risk


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    train(folder, "model=lmv_net", "trainer.num_epochs=1")
    return only_run(folder)


def test_a_checkpoint_alone_gives_the_validation_that_its_training_saw(run):
    checkpoint = run / "best_model_risk_prediction_id-1.pth"
    found = split_risk(checkpoint, "val", as_trained(checkpoint).dataset, cpu=True)
    samples = found.samples
    assert found.risk.shape == (len(samples), 5)
    assert (np.diff(found.risk, axis=1) >= 0).all()
    measured = risk_metrics(found.risk, samples.event[:, -1], samples.event_index[:, -1])
    row = pd.read_csv(run / "metrics.csv").iloc[-1]
    assert measured["C-index"] == pytest.approx(row["Validation C-index"], abs=1e-9)


def test_the_size_of_batches_and_the_workers_do_not_matter(run):
    checkpoint = run / "best_model_risk_prediction_id-1.pth"
    config = as_trained(checkpoint)
    reference = split_risk(checkpoint, "test", as_trained(checkpoint).dataset, cpu=True)
    config.dataset.batch_size, config.dataset.num_workers = 3, 1
    again = split_risk(checkpoint, "test", config.dataset, cpu=True)
    np.testing.assert_array_equal(again.risk, reference.risk)
    assert list(again.samples.sample_id) == list(reference.samples.sample_id)


def test_the_table_has_a_row_per_sample_with_what_followed(run):
    best = run / "best_model_risk_prediction_id-1.pth"
    found = split_risk(best, "test", as_trained(best).dataset, cpu=True)
    table = found.table()
    assert list(table.columns[:4]) == ["sample_id", "patient_id", "event", "years"]
    assert {*RISK_COLUMNS, "true_risk_1y", "true_risk_5y"} < set(table)
    assert table["event"].isin([0, 1]).all()
    assert table["years"].between(1, 5).all()
    np.testing.assert_array_equal(table["risk_3y"], found.risk[:, 2])
    assert table["sample_id"].is_unique
