from __future__ import annotations

import functools
import io

import numpy as np
import pytest
import torch
from helpers.composed_configs import composed
from helpers.training_runs import COHORTS

from mammorisk.batch import InputSpec
from mammorisk.datasets.attrition import Attrition
from mammorisk.datasets.cohort import load_cohort
from mammorisk.datasets.displacements import DisplacementRequest, last_pairs
from mammorisk.datasets.images import read_image
from mammorisk.datasets.phantom.pictures import field_file
from mammorisk.datasets.samples import build_samples
from mammorisk.errors import UserError
from mammorisk.registration.ground_truth import GroundTruth, TrueDisplacements
from mammorisk.warping import resize_displacement, warp

SIZE = (64, 52)


@functools.cache
def cohort_table(displacements: bool = True):
    """A cohort with much motion and nothing else that changes from exam to exam."""
    steady = ["fresh_texture", "involution", "gain_sd", "gamma_sd", "noise_sd"]
    config = composed(
        "experiment=quickstart",
        "model=lmv_net",
        "registration=ground_truth" if displacements else "registration=identity",
        f"dataset.generator.folder={COHORTS}",
        "dataset.generator.num_women=16",
        "dataset.generator.precursor.prevalence=0",
        *[f"dataset.generator.picture.{name}=0" for name in steady],
    )
    return load_cohort(config.dataset).split("train")


def request(table, orientation="native", size=SIZE, exams=2):
    samples = build_samples(table, InputSpec("image", exams), Attrition())
    return DisplacementRequest(table, last_pairs(samples), SIZE, orientation, size)


def images(table, pair, mirror=False):
    return [torch.from_numpy(read_image(table["file"][row], SIZE, mirror))[None] for row in pair]


def error_inside(current, prior, truth, field):
    """Mean difference after a warp by ``field``, where there is breast in the current image and truly in the prior."""
    inside = (current > 0.02) & (warp(torch.ones_like(prior), truth) > 0.99)
    return float((current - warp(prior, field)).abs()[inside].mean())


@pytest.mark.parametrize("orientation", ["native", "left"])
def test_pitfall_03_the_true_field_brings_the_prior_onto_the_current_image(orientation):
    table = cohort_table()
    wanted = request(table, orientation)
    source = TrueDisplacements(wanted)
    for current, prior in wanted.pairs[::7].tolist():
        mirror = orientation == "left" and table["laterality"][current] == "R"
        now, before = images(table, (current, prior), mirror)
        field = torch.from_numpy(source.read(current, prior))[None]
        aligned = error_inside(now, before, field, field)
        otherwise = (0 * field, -field, field.flip(1), field * torch.tensor([1.0, -1.0])[:, None, None])
        assert all(aligned < 0.6 * error_inside(now, before, field, wrong) for wrong in otherwise)
    assert {table["laterality"][row] for row in wanted.pairs[::7, 0]} == {"L", "R"}


def test_fields_of_mirrored_breasts_are_mirrored():
    table = cohort_table()
    native, left = TrueDisplacements(request(table)), TrueDisplacements(request(table, "left"))
    for current, prior in request(table).pairs[:8].tolist():
        one, other = native.read(current, prior), left.read(current, prior)
        if table["laterality"][current] == "R":
            one = one[:, :, ::-1] * np.array([1, -1], dtype=np.float32)[:, None, None]
        np.testing.assert_array_equal(other, one)


def test_fields_come_at_the_size_that_is_wanted():
    table = cohort_table()
    wanted = request(table, size=(8, 7))
    source, (current, prior) = TrueDisplacements(wanted), wanted.pairs[0].tolist()
    stored = np.load(table["file"][current].replace("images", "displacements").replace(".png", ".npy")).astype(
        np.float32
    )
    small = source.read(current, prior)
    assert small.shape == (2, 8, 7)
    assert small.dtype == np.float32
    np.testing.assert_array_equal(small, resize_displacement(torch.from_numpy(stored)[None], (8, 7))[0].numpy())


def test_an_exam_in_between_that_is_no_sample_is_passed_through():
    table = cohort_table()
    source = TrueDisplacements(request(table))
    chains = build_samples(table, InputSpec("image", 3), Attrition()).images[:, :, 0]
    composed_error = summed_error = 0.0
    for first, middle, last in chains[::2].tolist():
        before, _, now = (images(table, (row,))[0] for row in (first, middle, last))
        field = torch.from_numpy(source.read(last, first))[None]
        step = torch.from_numpy(source.read(last, middle))[None]
        for wrong in (0 * field, step):
            assert error_inside(now, before, field, field) < 0.6 * error_inside(now, before, field, wrong)
        summed = step + torch.from_numpy(source.read(middle, first))[None]
        composed_error += error_inside(now, before, field, field)
        summed_error += error_inside(now, before, field, summed)
    assert composed_error < 0.85 * summed_error  # fields are put one after the other, not added


def test_a_cohort_without_fields_is_a_message():
    with pytest.raises(UserError, match=r"no true displacements .*\.npy.*dataset\.generator\.displacements=true"):
        TrueDisplacements(request(cohort_table(displacements=False)))


def test_another_cohort_is_a_message():
    table = cohort_table().copy()
    wanted = request(table)
    table["exam_id"] = "e" + table["exam_id"]
    with pytest.raises(UserError, match=r"is not of a phantom cohort.*dataset=phantom"):
        TrueDisplacements(wanted)


FIELD = np.ones((2, 8, 6), np.float16)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        npy(FIELD)[:-1],
        npy(FIELD)[:-40],
        npy(FIELD) + b"x",
        npy(FIELD) + npy(FIELD),
        npy(FIELD[:1]),
        npy(FIELD[0]),
        npy(FIELD.astype(bool)),
        npy(np.full_like(FIELD, np.nan)),
        npy(np.array([{}], dtype=object)),
        npy(FIELD).replace(b"(2, 8, 6), }        ", b"(2, 8000000, 8000000), }")[:128],
        b"PK\x03\x04",
    ],
)
def test_a_damaged_field_is_a_message(tmp_path, content):
    table = cohort_table().copy()
    wanted = request(table)
    current, prior = wanted.pairs[0].tolist()
    copy = tmp_path / "images" / "00000" / table["file"][current].rpartition("/")[2]
    table.loc[current, "file"] = str(copy)
    field = tmp_path / field_file(f"images/00000/{copy.name}")
    field.parent.mkdir(parents=True)
    field.write_bytes(npy(FIELD))
    one = DisplacementRequest(table, np.array([[current, prior]]), SIZE, "native", SIZE)
    assert TrueDisplacements(one).read(current, prior).min() > 0
    field.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read.*written again"):
        TrueDisplacements(one)


def test_from_images_it_knows_nothing():
    with pytest.raises(UserError, match=r"has no displacement field.*registration=ground_truth"):
        GroundTruth()(torch.rand(1, 1, 8, 6), torch.rand(1, 1, 8, 6))


@pytest.mark.parametrize("others", [(), ("experiment=quickstart",)], ids=["plain", "quick start"])
def test_the_option_has_the_cohort_written_with_its_fields(others):
    config = composed("model=lmv_net", *others, "registration=ground_truth")
    assert config.dataset.generator.displacements is True
    assert list(config.registration) == ["_target_"]
    assert composed("model=lmv_net", *others).dataset.generator.displacements is False
