from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.reference_blocks import outputs

from mammorisk.metrics.auc import yearly_auc
from mammorisk.metrics.concordance import c_index, c_index_literature
from mammorisk.metrics.training_measures import risk_metrics


@pytest.mark.parametrize("number", range(3))
def test_every_measure_has_its_name(number):
    reference = {name: values.numpy() for name, values in outputs(f"j_metrics_set{number}").items()}
    sample = reference["preds"], reference["events"], reference["times"]
    measures = risk_metrics(*sample)
    assert list(measures) == ["C-index", "C-index (literature)", *(f"Year {year} AUC" for year in range(1, 6))]
    assert measures["C-index"] == c_index(*sample) != c_index_literature(*sample)
    assert measures["C-index (literature)"] == pytest.approx(float(reference["c_yala"]), abs=1e-12)
    assert [measures[f"Year {year} AUC"] for year in range(1, 6)] == yearly_auc(*sample).tolist()


def test_values_are_plain_floats():
    measures = risk_metrics(np.random.default_rng(0).random((20, 3)), np.arange(20) % 2, np.arange(20) % 3)
    assert {type(value) for value in measures.values()} == {float}
    assert list(measures)[-1] == "Year 3 AUC"


def test_what_the_data_cannot_give_is_nan():
    assert all(math.isnan(value) for value in risk_metrics(np.zeros((3, 5)), [0, 0, 0], [0, 1, 4]).values())
    early = risk_metrics(np.eye(2, 5), [True, False], [1, 2])
    assert [name for name, value in early.items() if math.isnan(value)] == ["Year 1 AUC", "Year 4 AUC", "Year 5 AUC"]


def test_a_wrong_input_is_a_message():
    with pytest.raises(ValueError, match="NaN or infinite"):
        risk_metrics([[float("nan")]], [1], [0])
