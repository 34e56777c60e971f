from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.cohorts import cohort_rows, write_cohort

from mammorisk.batch import InputSpec
from mammorisk.datasets.attrition import Attrition
from mammorisk.datasets.cohort import load_cohort
from mammorisk.datasets.features import FeatureRequest, shown_rows
from mammorisk.datasets.samples import build_samples


def test_every_image_that_samples_show_is_wanted_once(tmp_path):
    table = load_cohort(write_cohort(tmp_path, cohort_rows(4))).split("train")
    samples = build_samples(table, InputSpec("exam", 2, missing_priors="mask"), Attrition())
    rows = shown_rows(samples)
    assert rows.tolist() == sorted({row for row in samples.images.ravel().tolist() if row >= 0})
    assert (samples.images < 0).any()
    assert len(rows) < samples.images.size / 1.5  # a prior of one sample is the current exam of another


@pytest.mark.parametrize(("orientation", "expected"), [("native", [False] * 3), ("left", [True, False, True])])
def test_right_breasts_are_mirrored_where_all_lie_left(orientation, expected):
    table = pd.DataFrame({"laterality": ["R", "L", "R"]})
    assert FeatureRequest(table, np.arange(3), (8, 6), orientation).mirrored.tolist() == expected
