from __future__ import annotations

import hydra
import numpy as np
import pytest
import torch
from training import tiny_config

from mammorisk.batch import RiskOutput
from mammorisk.report.examples import _overlays, example_exams, outcome_words
from mammorisk.split_data import read_splits

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["mirai", "vmra_mar", "lmv_net", "imgfeatalign", "oa_breacr"])
def test_every_model_has_example_exams_with_a_map(name):
    config = tiny_config(f"model={name}")
    model = hydra.utils.instantiate(config.model).eval()
    data = read_splits(config, model, ["test"])[1]["test"]
    risk = np.random.default_rng(0).random((len(data.samples), 5)).cumsum(1).astype(np.float32)
    found = example_exams(model, data, risk, config, CPU, count=1)
    assert next(each.kind for each in found) == "highest risk"
    cases, free = data.samples.event[:, -1], ~data.samples.event[:, -1]
    for each in found:
        index = list(data.samples.sample_id).index(each.sample_id)
        assert each.risk == [float(value) for value in risk[index]]
        assert each.outcome.startswith("free" if free[index] else "cancer")
        assert any(picture.caption.startswith("Map") for picture in each.pictures)
        assert all(picture.png.startswith(b"\x89PNG") and len(picture.png) < 150_000 for picture in each.pictures)
    first = list(data.samples.sample_id).index(found[0].sample_id)
    assert risk[first, -1] == risk[cases, -1].max()


@pytest.mark.parametrize(("orientation", "mirrored"), [("left", False), ("native", True)])
def test_an_asymmetry_lies_mirrored_over_the_right_breast_as_taken(orientation, mirrored):
    heat = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
    over = _overlays(RiskOutput({}, maps={"asymmetry_cc": heat}), 4, orientation)["asymmetry"]
    left = heat[0].numpy()
    np.testing.assert_array_equal(over[2], left)
    np.testing.assert_array_equal(over[0], left[:, ::-1] if mirrored else left)


def test_outcomes_are_told_in_words():
    assert outcome_words(True, 1) == "cancer in year 2"
    assert outcome_words(False, 4) == "free of cancer for 5 years"
