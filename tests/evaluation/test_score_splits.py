from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.evaluated_checkpoints import run_directory
from helpers.tiny_training import tiny_config
from omegaconf import OmegaConf

from mammorisk.datasets.cohort_csv import TRUE_RISK
from mammorisk.evaluation import score_splits
from mammorisk.evaluation.score_splits import score
from mammorisk.evaluation.trained_checkpoint import load_trained
from mammorisk.prediction.splits import RISK_COLUMNS


@pytest.fixture(scope="module")
def scored():
    trained = load_trained(run_directory("model=lmv_net"))
    return score(trained.network, trained.config.dataset, 0, ["test"], torch.device("cpu"))["test"]


def test_a_row_per_sample_with_all_that_groups_are_made_of(scored):
    table, rows = scored.split.table, scored.split.rows
    assert len(table) == len(rows.event) == len(scored.data.samples)
    assert {"density", "cancer_type", "race", "age", "laterality", *TRUE_RISK} <= set(table)
    assert "view" not in table  # both views of a breast are one sample
    np.testing.assert_array_equal(table[list(RISK_COLUMNS)].to_numpy(), rows.risk)
    assert (table["laterality"] == table["sample_id"].str[-1]).all()
    assert table["cancer_type"].notna().tolist() == (table["event"] == 1).tolist()
    assert set(table["cancer_type"].dropna()) <= {"in situ", "invasive of 15 mm or less", "invasive above 15 mm"}


def test_a_cancer_type_without_a_name_is_told_by_its_code(scored):
    config = tiny_config("model=lmv_net")
    plain = scored.split.table[["sample_id", *RISK_COLUMNS]]
    config.dataset.cancer_types = {"1": "in situ"}
    found = score_splits._with_groups(plain, scored.data, scored.cohort, config.dataset)["cancer_type"].dropna()
    codes = scored.data.samples.cancer_type[found.index]
    assert found.tolist() == ["in situ" if code == 1 else str(code) for code in codes]
    earlier = OmegaConf.create(OmegaConf.to_container(config))  # a checkpoint's, from before there were names
    del earlier.dataset.cancer_types
    found = score_splits._with_groups(plain, scored.data, scored.cohort, earlier.dataset)["cancer_type"].dropna()
    assert found.tolist() == [str(code) for code in codes]


def test_whole_exams_have_no_side():
    trained = load_trained(run_directory("model=mirai"))
    table = score(trained.network, trained.config.dataset, 0, ["val"], torch.device("cpu"))["val"].split.table
    assert not {"laterality", "view"} & set(table)


def test_quartiles_of_percent_density_are_not_called_density(scored):
    config = tiny_config("model=lmv_net")
    config.dataset.columns = {
        **config.dataset.columns,
        "density": None,
        "percent_density": "age",
    }  # any numbers will do
    table = score_splits._with_groups(
        scored.split.table[["sample_id", *RISK_COLUMNS]], scored.data, scored.cohort, config.dataset
    )
    assert "percent_density_quartile" in table
    assert "density" not in table
