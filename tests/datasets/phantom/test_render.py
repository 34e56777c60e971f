from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from mammorisk.datasets.phantom.phantom_settings import MotionSettings, PictureSettings
from mammorisk.datasets.phantom.render import PictureRules, render_woman
from mammorisk.datasets.phantom.woman import LATERALITIES, VIEWS, Precursor, Settings, draw_woman
from mammorisk.warping import warp

RULES = PictureRules()
STEADY = PictureRules(
    motion=MotionSettings(displacement_rms=0.0, translation_sd=0.0, rotation_sd=0.0, scale_sd=0.0),
    picture=PictureSettings(fresh_texture=0.0, gain_sd=0.0, gamma_sd=0.0, noise_sd=0.0, involution=0.0),
)


def pictures(woman, times=(0.0, 2.0), rules=RULES, height=64, displacements=False):
    found = render_woman(woman, times, rules, height, displacements)
    return {(picture.exam, picture.laterality, picture.view): picture for picture in found}


def her(index, **changes):
    return replace(draw_woman(Settings(), 11, index), **changes)


def with_precursor(index, onset, laterality="L"):
    woman = her(index)
    precursor = Precursor(laterality, onset, 0.5, 1.0, woman.precursor.focus)
    return replace(woman, precursor=precursor, benign={"L": (), "R": ()})


def correlation(one, other, where=slice(None)):
    return np.corrcoef(one[where].ravel().astype(float), other[where].ravel().astype(float))[0, 1]


def test_all_views_of_all_exams_once():
    woman = her(0)
    found = list(render_woman(woman, (0.0, 1.0, 3.0), RULES, 64))
    keys = {(picture.exam, picture.laterality, picture.view) for picture in found}
    assert keys == {(exam, side, view) for exam in range(3) for side in LATERALITIES for view in VIEWS}
    assert len(found) == 12
    assert all(picture.pixels.shape == (64, 52) and picture.pixels.dtype == np.uint16 for picture in found)


def test_grey_values_use_the_range():
    values = np.concatenate([p.pixels.ravel() for i in range(3) for p in pictures(her(i)).values()])
    assert (values == 0).mean() > 0.2  # background
    assert np.percentile(values[values > 0], 50) > 10_000
    assert np.percentile(values, 99) > 30_000
    assert (values == 65535).mean() < 0.005


def test_chest_wall_is_left_in_left_breasts_and_right_in_right_ones():
    found = pictures(her(1))
    for view in VIEWS:
        left, right = found[0, "L", view].pixels, found[0, "R", view].pixels
        assert left[:, :8].mean() > 5 * left[:, -4:].mean()
        assert right[:, -8:].mean() > 5 * right[:, :4].mean()


def test_exams_differ_without_anything_happening():
    found = pictures(with_precursor(2, onset=99.0))
    one, other = found[0, "L", "CC"].pixels, found[1, "L", "CC"].pixels
    assert 0.6 < correlation(one, other) < 0.995


def test_same_woman_at_two_resolutions_looks_alike():
    for index in range(4):
        coarse, fine = pictures(her(index), height=64), pictures(her(index), height=128)
        for key, picture in coarse.items():
            shrunk = cv2.resize(fine[key].pixels, (52, 64), interpolation=cv2.INTER_AREA)
            assert correlation(shrunk, picture.pixels) > 0.97


def test_precursor_grows_in_both_views_of_its_breast_alone():
    woman, times = with_precursor(3, onset=0.5), (0.0, 1.5, 3.0)
    before, after = (pictures(w, times, STEADY) for w in (with_precursor(3, onset=99.0), woman))
    for view in VIEWS:
        gain = [
            after[exam, "L", view].pixels.astype(float) - before[exam, "L", view].pixels.astype(float)
            for exam in range(3)
        ]
        assert gain[0].max() == 0
        assert 1000 < gain[1].max() < gain[2].max()
        assert gain[1].sum() < gain[2].sum()
        for exam in range(3):
            np.testing.assert_array_equal(after[exam, "R", view].pixels, before[exam, "R", view].pixels)


def test_precursor_is_as_far_from_the_chest_wall_in_both_views():
    woman = with_precursor(4, onset=-2.0)
    lit, dark = (pictures(w, (1.0,), STEADY) for w in (woman, with_precursor(4, onset=99.0)))
    depth = []
    for view in VIEWS:
        gain = np.clip(lit[0, "L", view].pixels.astype(float) - dark[0, "L", view].pixels, 0, None)
        column = (gain.sum(axis=0) * (np.arange(52) + 0.5)).sum() / gain.sum()
        depth.append(column * 24 / 64 / woman.shapes[view].depth)
    assert depth[0] == pytest.approx(depth[1], abs=0.08)
    assert depth[0] == pytest.approx(woman.precursor.focus.depth, abs=0.08)


def test_true_displacement_aligns_the_prior_in_both_breasts():
    strong = PictureRules(motion=MotionSettings(0.35, 5, 0.35, 3.0, 0.04))
    for side in LATERALITIES:
        scores = []
        for index in range(3):
            found = pictures(with_precursor(index, onset=99.0), rules=strong, displacements=True)
            for view in VIEWS:
                assert found[0, side, view].displacement is None
                current, prior = (found[exam, side, view].pixels.astype(np.float32) for exam in (1, 0))
                scores.append(alignment(current, prior, found[1, side, view].displacement))
        unaligned, aligned, *shifted = np.mean(scores, axis=0)
        assert aligned > 0.95
        assert 1 - aligned < 0.25 * (1 - unaligned)
        assert aligned > max(shifted)  # half a pixel off in any direction is worse


def alignment(current, prior, field):
    """Correlation with the prior as it is, warped, and warped half a pixel wrong."""
    warped = [np.zeros(2), *(0.5 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]))]
    images = [prior]
    for shift in warped:
        displacement = torch.from_numpy(field + shift[:, None, None].astype(np.float32))[None]
        images.append(warp(torch.from_numpy(prior)[None, None], displacement)[0, 0].numpy())
    return [correlation(current, image, (current > 0) & (image > 0)) for image in images]


def test_noise_and_motion_belong_to_the_exam_not_to_their_number():
    short, long = pictures(her(5), (0.0, 1.0)), pictures(her(5), (0.0, 1.0, 2.0))
    for key, picture in short.items():
        np.testing.assert_array_equal(picture.pixels, long[key].pixels)


def test_brightness_settings():
    plain = pictures(her(6), rules=STEADY)
    dark = pictures(her(6), rules=PictureRules(motion=STEADY.motion, picture=replace(STEADY.picture, white=16383)))
    for key, picture in plain.items():
        np.testing.assert_allclose(picture.pixels / 65535, dark[key].pixels / 16383, atol=1e-4)
