from __future__ import annotations

import hydra
import numpy as np
import pytest
import torch
from helpers.tiny_training import tiny_config

from mammorisk.batch import RiskOutput, collate
from mammorisk.datasets.risk_dataset import RiskDataset
from mammorisk.report.examples import example_exams, map_overlays, outcome_words, views_as_taken
from mammorisk.training.data_module import read_splits

CPU = torch.device("cpu")
MODELS = ["mirai", "vmra_mar", "lmv_net", "imgfeatalign", "oa_breacr"]
MAPS = {  # of each model what lights up where a spot has appeared
    "mirai": {"importance"},
    "vmra_mar": {"asymmetry"},
    "lmv_net": {"difference"},
    "imgfeatalign": {"difference"},
    "oa_breacr": {"attention_current", "difference"},
}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_example_exams_with_a_map(name):
    config = tiny_config(f"model={name}")
    model = hydra.utils.instantiate(config.model).eval()
    data = read_splits(config.dataset, model, ["test"])[1]["test"]
    risk = np.random.default_rng(0).random((len(data.samples), 5)).cumsum(1).astype(np.float32)
    found = example_exams(model, data, risk, config.dataset, CPU, count=1)
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


@pytest.mark.parametrize("orientation", ["left", "native"])
@pytest.mark.parametrize("name", MODELS)
def test_a_spot_lights_up_where_it_is_in_the_breast_as_taken(name, orientation):
    config = tiny_config(f"model={name}", "dataset.image_size=[96,78]", f"dataset.orientation={orientation}")
    torch.manual_seed(0)
    model = hydra.utils.instantiate(config.model).eval()
    data = read_splits(config.dataset, model, ["test"])[1]["test"]
    images = RiskDataset(data.samples, data.table, (96, 78), orientation, data.displacements)
    sides = {str(data.table.iloc[rows[-1, 0]]["laterality"]): index for index, rows in enumerate(data.samples.images)}
    for index in sides.values():  # of models that take one breast: a right one and a left one
        batch, views = collate([images[index]]), views_as_taken(data, index, orientation)
        batch.images = 0.02 * torch.rand(batch.images.shape)
        for view, turned in enumerate(views.mirrored):
            if views.names[view].startswith("L") or name != "vmra_mar":  # an asymmetry: in one breast only
                exam = batch.images[0, -1, view, 0]
                seen = exam.flip(-1) if turned else exam
                seen[28:37, 22:31] = 1
                exam.copy_(seen.flip(-1) if turned else seen)
        with torch.inference_mode():
            overlays = map_overlays(model(batch), len(views.names), orientation)
        assert MAPS[name] <= set(overlays)
        for over in (overlays[each] for each in MAPS[name]):
            panels = views.panels(batch.images[0, -1], over)
            assert len(panels) == len(over) == len(views.names)
            for panel in panels:
                mirror_image = name == "vmra_mar" and panel.title.startswith("R")
                assert panel.image[28:37, 22:31].min() == 1 or mirror_image
                row, column = np.unravel_index(panel.overlay.argmax(), panel.overlay.shape)
                height, width = panel.overlay.shape
                column = width - 1 - column if mirror_image else column
                assert (row + 0.5) / height == pytest.approx(32.5 / 96, abs=1 / height)
                assert (column + 0.5) / width == pytest.approx(26.5 / 78, abs=1 / width)


@pytest.mark.parametrize(("orientation", "mirrored"), [("left", False), ("native", True)])
def test_an_asymmetry_lies_mirrored_over_the_right_breast_as_taken(orientation, mirrored):
    heat = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
    over = map_overlays(RiskOutput({}, maps={"asymmetry_cc": heat}), 4, orientation)["asymmetry"]
    left = heat[0].numpy()
    np.testing.assert_array_equal(over[2], left)
    np.testing.assert_array_equal(over[0], left[:, ::-1] if mirrored else left)


def test_outcomes_are_told_in_words():
    assert outcome_words(True, 1) == "cancer in year 2"
    assert outcome_words(False, 4) == "free of cancer for 5 years"
