from __future__ import annotations

import dataclasses

import kornia.augmentation
import numpy as np
import pytest
import torch
from helpers.model_cases import CONF, random_batch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from mammorisk.augment.longitudinal import (
    Geometry,
    Intensity,
    LongitudinalAugment,
    NoAugment,
    change_intensity,
    move,
    move_displacement,
)
from mammorisk.batch import Batch, InputSpec, collate
from mammorisk.errors import UserError
from mammorisk.warping import resize_displacement, warp

BREAST = InputSpec("breast", exams=2)
OFF = {"crop_probability": 0, "affine_probability": 0, "jitter_probability": 0, "gamma_probability": 0}
ALWAYS = {"crop_probability": 1, "affine_probability": 1, "jitter_probability": 1, "gamma_probability": 1}


def history(samples=4, size=(64, 52), inputs=BREAST, first=0) -> Batch:
    """Noise images of samples with the ids p0, p1, ... from ``first`` on; the same id has the same images."""
    batch = random_batch(inputs, samples + first, size)
    found = {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch) if f.name != "complete"}
    part = {name: values[first:] for name, values in found.items() if values is not None}
    return Batch(**part | {"sample_id": [f"p{i}/e1/L" for i in range(first, samples + first)]})


def with_images(batch: Batch, images: Tensor) -> Batch:
    return dataclasses.replace(batch, images=images.expand(batch.images.shape).clone())


def drawn_for(samples: int, **settings):
    return LongitudinalAugment(**settings).draw([f"p{i}" for i in range(samples)], 4, seed=1, epoch=0)


def test_pitfall_04_one_geometry_for_all_exams_and_views():
    batch = history()
    batch = with_images(batch, batch.images[:, :1, :1])  # prior and current, CC and MLO show the same
    augmented = LongitudinalAugment(**ALWAYS | {"jitter_probability": 0, "gamma_probability": 0})(batch, 1, 0)
    assert not torch.equal(augmented.images, batch.images)
    assert torch.equal(augmented.images, augmented.images[:, :1, :1].expand_as(augmented.images))


def test_samples_differ_in_geometry():
    batch = history()
    batch = with_images(batch, batch.images[:1])
    augmented = LongitudinalAugment(**OFF | {"affine_probability": 1})(batch, 1, 0).images
    assert not any(torch.equal(augmented[0], augmented[i]) for i in (1, 2, 3))


def test_intensity_differs_from_image_to_image():
    batch = history(samples=1)
    batch = with_images(batch, batch.images[:, :1, :1])
    images = LongitudinalAugment(**ALWAYS | {"crop_probability": 0, "affine_probability": 0})(batch, 1, 0).images
    assert len({float(image.mean()) for image in images.flatten(0, 2)}) == 4


def test_depends_on_seed_epoch_and_sample_alone():
    augment, batch = LongitudinalAugment(), history(samples=8)
    images = augment(batch, 1, 0).images
    assert torch.equal(images, augment(batch, 1, 0).images)
    assert not torch.equal(images, augment(batch, 1, 1).images)
    assert not torch.equal(images, augment(batch, 2, 0).images)


@pytest.mark.parametrize("inputs", [BREAST, InputSpec("image", exams=1)], ids=["breast", "image"])
@pytest.mark.parametrize("threads", [1, 3])
def test_same_sample_in_another_batch_is_bit_identical(threads, inputs):
    # On several threads the mean of one image is summed otherwise than those of many.
    augment, size, before = LongitudinalAugment(**ALWAYS), (211, 157), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = augment(history(6, size, inputs), 1, 5).images
        for first, count in ((0, 1), (1, 2), (3, 3)):
            apart = augment(history(count, size, inputs, first), 1, 5).images
            assert torch.equal(together[first : first + count], apart)
    finally:
        torch.set_num_threads(before)


def test_switching_one_transform_off_does_not_change_the_others():
    batch = history(samples=8)
    full, no_crop = drawn_for(50), drawn_for(50, crop_probability=0)
    uncropped = full[0].matrix[:, 0, 0] == no_crop[0].matrix[:, 0, 0]
    assert np.array_equal(full[0].matrix[uncropped], no_crop[0].matrix[uncropped])
    assert 30 < uncropped.sum() < 50
    assert np.array_equal(full[1].factors, no_crop[1].factors)
    only_gamma = LongitudinalAugment(**OFF | {"gamma_probability": 1})
    with_flip = LongitudinalAugment(**OFF | {"gamma_probability": 1, "horizontal_flip": 1})
    mirrored = with_flip(batch, 1, 0).images
    torch.testing.assert_close(mirrored, only_gamma(batch, 1, 0).images.flip(-1), rtol=0, atol=1e-4)


def test_never_writes_its_input_and_shares_the_rest():
    batch = history()
    before = batch.images.clone()
    augmented = LongitudinalAugment(**ALWAYS)(batch, 1, 0)
    assert torch.equal(batch.images, before)
    assert augmented.images is not batch.images
    assert augmented.target is batch.target
    assert augmented.sample_id == batch.sample_id


def test_nothing_switched_on_changes_nothing():
    batch = history()
    assert torch.equal(LongitudinalAugment(**OFF)(batch, 1, 0).images, batch.images)


def test_untouched_samples_stay_bit_for_bit():
    batch, augment = history(samples=12), LongitudinalAugment(**OFF | {"affine_probability": 0.5})
    geometry, _ = augment.draw(batch.sample_id, 4, 1, 0)
    same = [torch.equal(a, b) for a, b in zip(augment(batch, 1, 0).images, batch.images, strict=True)]
    assert same == (~geometry.moved).tolist()
    assert 0 < sum(same) < 12


def test_each_draw_of_a_sample_in_an_epoch_has_its_own_numbers():
    batch, augment = history(samples=1), LongitudinalAugment(**ALWAYS)
    twice = dataclasses.replace(
        collate([dataclasses.replace(history(samples=1), images=batch.images)] * 2),
        images=batch.images.repeat(2, 1, 1, 1, 1, 1),
        view_mask=batch.view_mask.repeat(2, 1, 1),
        sample=torch.zeros(2, dtype=torch.long),
        draw=[0, 1],
    )
    first, second = augment(twice, 1, 0).images
    assert not torch.equal(first, second)
    assert torch.equal(first, augment(batch, 1, 0).images[0])  # the first draw is the sample's own


def test_masked_images_come_out_as_zeros():
    batch = history()
    batch.view_mask[0, 0, 1] = False  # whatever lies there
    images = LongitudinalAugment(**ALWAYS)(batch, 1, 0).images
    assert not images[0, 0, 1].any()
    assert images[0, 0, 0].any()


def test_results_stay_in_the_unit_range():
    for epoch in range(5):
        images = LongitudinalAugment(**ALWAYS)(history(), 1, epoch).images
        assert images.min() >= 0
        assert images.max() <= 1


@pytest.mark.parametrize("bad", [65535.0, -0.1, float("nan")], ids=["16-bit", "negative", "nan"])
def test_pitfall_17_images_outside_the_unit_range_are_refused(bad):
    batch = history()
    batch.images[1, 0, 0, 0, 3, 4] = bad
    with pytest.raises(ValueError, match=r"expects images in \[0, 1\].*found values from"):
        LongitudinalAugment()(batch, 1, 0)


def test_sample_ids_are_needed():
    with pytest.raises(ValueError, match="sample id for each of 4"):
        LongitudinalAugment()(dataclasses.replace(history(), sample_id=[]), 1, 0)


def test_probabilities_and_ranges_over_many_samples():
    geometry, intensity = drawn_for(4000, horizontal_flip=0.1)
    x, y = geometry.matrix[:, 0, 0], geometry.matrix[:, 1, 1]
    assert np.mean(x < 0) == pytest.approx(0.1, abs=0.02)
    assert np.mean(geometry.moved) == pytest.approx(1 - 0.8 * 0.5 * 0.9, abs=0.03)
    assert np.mean(intensity.jittered) == pytest.approx(0.5, abs=0.02)
    assert np.mean(intensity.curved) == pytest.approx(0.5, abs=0.02)
    assert abs(np.corrcoef(intensity.jittered.ravel(), intensity.curved.ravel())[0, 1]) < 0.03
    assert y.min() >= 0.95 / 1.1 - 1e-3
    assert y.max() == 1
    for factor, (low, high) in zip(intensity.factors, ((0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (0.9, 1.05)), strict=True):
        assert factor.min() == pytest.approx(low, abs=0.01)
        assert factor.max() == pytest.approx(high, abs=0.01)
        assert factor.mean() == pytest.approx((low + high) / 2, abs=0.01)


def test_crop_has_its_size_and_stays_inside():
    geometry, _ = drawn_for(2000, crop_probability=1, affine_probability=0)
    for axis, share in ((0, 1581 / 1664), (1, 1946 / 2048)):
        scale, offset = geometry.matrix[:, axis, axis], geometry.matrix[:, axis, 2]
        assert np.allclose(scale, share)
        assert np.abs(offset).max() == pytest.approx(1 - share, rel=0.01)
    assert abs(np.corrcoef(geometry.matrix[:, 0, 2], geometry.matrix[:, 1, 2])[0, 1]) < 0.1


def test_crop_shows_the_part_it_cut_out():
    # Half the size, nothing else: the corners of the result are the corners of the part.
    augment, batch = LongitudinalAugment(**OFF | {"crop_probability": 1, "crop_size": (0.5, 0.5)}), history(samples=1)
    ramp = torch.linspace(0, 1, 65)[:, None].expand(65, 53)
    batch = with_images(dataclasses.replace(batch, images=torch.zeros(1, 2, 2, 1, 65, 53)), ramp)
    image = augment(batch, 1, 0).images[0, 0, 0, 0]
    assert float(image[-1, 0] - image[0, 0]) == pytest.approx(0.5, abs=1e-4)
    assert 0 < image[0, 0] < image[-1, 0] < 1


def test_translation_and_magnification_are_the_published_ones():
    geometry, _ = drawn_for(4000, crop_probability=0, affine_probability=1)
    magnified = 1 / geometry.matrix[:, 0, 0]
    assert np.allclose(magnified, 1 / geometry.matrix[:, 1, 1])
    assert (magnified.min(), magnified.max()) == pytest.approx((1.0, 1.1), abs=1e-3)
    for axis in (0, 1):
        shift = -geometry.matrix[:, axis, 2] * magnified / 2  # of the content, in image widths and heights
        assert (shift.min(), shift.max()) == pytest.approx((-0.1, 0.1), abs=1e-3)


def test_geometry_equals_kornias_crop_affine_and_flip_one_after_the_other():
    # Same steps by kornia with our numbers, on a smooth image: three interpolations against our one.
    rows, columns, crop = (81, 65), (0.75, 0.75), 0.25
    r, c = torch.linspace(0, 3, rows[0])[:, None], torch.linspace(0, 2, rows[1])
    image = (0.5 + 0.25 * torch.sin(2 * r + c) + 0.25 * torch.cos(3 * c - r))[None, None]
    augment = LongitudinalAugment(crop_size=columns, crop_probability=1, affine_probability=1, horizontal_flip=1)
    geometry, _ = augment.draw(["p0"], 1, 1, 0)
    uniform = np.random.default_rng(0).random((8, 1))
    geometry = augment._geometry(uniform)
    _, top, left, _, down, right, scale, _ = uniform[:, 0]
    height, width = (rows[0] - 1) * columns[0], (rows[1] - 1) * columns[1]
    y0, x0 = top * (rows[0] - 1) * crop, left * (rows[1] - 1) * crop
    corners = torch.tensor([[[x0, y0], [x0 + width, y0], [x0 + width, y0 + height], [x0, y0 + height]]])
    step = kornia.geometry.transform.crop_and_resize(image, corners.float(), rows, align_corners=True)
    centre = torch.tensor([[(rows[1] - 1) / 2, (rows[0] - 1) / 2]])
    shift = torch.tensor([[(2 * right - 1) * 0.1 * (rows[1] - 1), (2 * down - 1) * 0.1 * (rows[0] - 1)]]).float()
    factor = torch.full((1, 2), 1 + 0.1 * float(scale))
    matrix = kornia.geometry.get_affine_matrix2d(shift, centre, factor, torch.zeros(1))[:, :2]
    step = kornia.geometry.warp_affine(step, matrix, rows, align_corners=True).flip(-1)
    inner = (slice(None), slice(None), slice(14, -14), slice(12, -12))
    torch.testing.assert_close(move(image, geometry)[inner], step[inner], rtol=0, atol=5e-3)


def test_intensity_equals_kornias_transforms():
    images = torch.rand(1, 3, 20, 16)
    factors = np.array([[1.3, 0.7, 1.0], [0.8, 1.4, 1.1], [0.8, 1.2, 1.1], [0.9, 1.05, 1.0]])[:, None]
    every = np.ones((1, 3), dtype=bool)
    ours = change_intensity(images, Intensity(every, every, factors))[0]
    for image, (brightness, contrast, gamma, gain) in zip(images[0], factors[:, 0].T, strict=True):
        jitter = kornia.augmentation.ColorJitter((brightness,) * 2, p=1)
        contrast = kornia.augmentation.ColorJitter(contrast=(contrast,) * 2, p=1)
        curve = kornia.augmentation.RandomGamma((gamma,) * 2, (gain,) * 2, p=1)
        expected = curve(contrast(jitter(image[None, None])))[0, 0]
        torch.testing.assert_close(ours[0], expected)
        ours = ours[1:]


def test_unchosen_images_stay_bit_for_bit():
    images, factors = torch.rand(2, 3, 20, 16), np.full((4, 2, 3), 1.1)
    jittered = np.array([[True, False, False], [False, False, False]])
    curved = np.array([[False, True, False], [False, False, False]])
    changed = change_intensity(images, Intensity(jittered, curved, factors))
    same = [torch.equal(a, b) for a, b in zip(changed.flatten(0, 1), images.flatten(0, 1), strict=True)]
    assert same == [False, False, True, True, True, True]


def test_flip_mirrors_the_columns():
    batch = history()
    images = LongitudinalAugment(**OFF | {"horizontal_flip": 1})(batch, 1, 0).images
    torch.testing.assert_close(images, batch.images.flip(-1), rtol=0, atol=2e-5)


def test_moves_by_the_projects_warp_in_pixels():
    # A shift of the content by +3 rows is a displacement of -3: the sign and axis of the one warp.
    batch, augment = history(samples=1), LongitudinalAugment(**OFF | {"affine_probability": 1, "scale": (1.0, 1.0)})
    (x, y) = augment.draw(batch.sample_id, 4, 1, 0)[0].matrix[0, :, 2]
    field = torch.tensor([y * 63 / 2, x * 51 / 2]).float().reshape(1, 2, 1, 1).expand(1, 2, 64, 52)
    expected = warp(batch.images.flatten(1, 3), field).reshape(batch.images.shape)
    torch.testing.assert_close(augment(batch, 1, 0).images, expected, rtol=0, atol=1e-4)


def test_no_augment_returns_the_batch_itself():
    batch = history()
    assert NoAugment()(batch, 1, 0) is batch


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"crop_probability": 1.5}, "crop_probability=1.5"),
        ({"gamma": (1.2, 0.8), "scale": (0, 1)}, r"scale=(.|\n)*gamma="),
        ({"crop_size": (0.9, 1.1)}, "crop_size"),
        ({"gain": (1.0,)}, "a list of 2 numbers"),
    ],
)
def test_settings_that_make_no_sense(settings, named):
    with pytest.raises(UserError, match=named):
        LongitudinalAugment(**settings)


def test_yaml_gives_the_constructors_defaults():
    config = OmegaConf.load(CONF / "augment" / "default.yaml")
    ours, default = instantiate(config), LongitudinalAugment()
    assert vars(ours) == vars(default)
    assert {str(key) for key in config if not str(key).startswith("_")} == set(vars(default))
    assert isinstance(instantiate(OmegaConf.load(CONF / "augment" / "none.yaml")), NoAugment)


def smooth_motion(size) -> Tensor:
    """A field that differs from place to place and axis to axis, [1, 1, 2, H, W]; up to 4 % of the picture."""
    r, c = torch.linspace(0, 3, size[0])[:, None], torch.linspace(0, 2, size[1])
    dy, dx = 0.04 * size[0] * torch.sin(r + c), 0.03 * size[1] * torch.cos(1.5 * c - r)
    return torch.stack((dy, dx))[None, None]


def blobs(size) -> Tensor:
    """A smooth picture in [0, 1], [1, 1, H, W]."""
    r, c = torch.linspace(0, 3, size[0])[:, None], torch.linspace(0, 2, size[1])
    return (0.5 + 0.25 * torch.sin(3 * r + c) + 0.25 * torch.cos(4 * c - r))[None, None]


def turned() -> Geometry:
    """A turn with a shear, more than the augmentation does: the formula must hold for any affine map."""
    return Geometry(np.array([[[0.9, -0.12, 0.05], [0.2, 0.85, -0.04]]]), np.array([True]))


GEOMETRIES = {
    "crop, shift and magnification": drawn_for(1, crop_probability=1, affine_probability=1)[0],
    "flip": drawn_for(1, horizontal_flip=1, crop_probability=0, affine_probability=0)[0],
    "all": drawn_for(1, horizontal_flip=1, crop_probability=1, affine_probability=1)[0],
    "turn": turned(),
}


@pytest.mark.parametrize("size", [(96, 60), (50, 110)])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_pitfalls_03_04_the_moved_field_aligns_the_moved_images(size, name):
    geometry, field, prior = GEOMETRIES[name], smooth_motion(size), blobs(size)
    current = warp(prior, field[0])
    moved_current, moved_prior = move(torch.cat((current, prior), dim=1), geometry).unbind(1)
    moved = move_displacement(field, geometry, size)
    inner = (..., slice(size[0] // 5, -size[0] // 5), slice(size[1] // 5, -size[1] // 5))

    def error(displacement):
        return float((warp(moved_prior[None], displacement) - moved_current[None])[inner].abs().max())

    assert error(moved[0]) < 0.012  # of two interpolations
    assert error(field[0]) > 4 * error(moved[0])  # the field as it was does not
    assert error(moved[0].flip(1)) > 10 * error(moved[0])  # nor one with its axes swapped


@pytest.mark.parametrize("name", GEOMETRIES)
def test_pitfall_03_a_small_field_moves_as_the_large_one_does(name):
    # The field is kept at the features' resolution: to move it there is to move it at the images' and shrink it.
    geometry, size, small = GEOMETRIES[name], (97, 61), (25, 31)
    field = smooth_motion(size)
    expected = resize_displacement(move_displacement(field, geometry, size)[0], small)
    found = move_displacement(resize_displacement(field[0], small)[None], geometry, size)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)
    assert expected.abs().max() > 0.7


def test_a_batchs_field_moves_with_its_images_and_stays_where_they_stay():
    batch = history(samples=12)
    batch.displacement = smooth_motion((64, 52)).repeat(12, 2, 1, 1, 1)
    before = batch.displacement.clone()
    augment = LongitudinalAugment(**OFF | {"affine_probability": 0.5})
    geometry, _ = augment.draw(batch.sample_id, 4, 1, 0)
    moved = augment(batch, 1, 0).displacement
    same = [torch.equal(a, b) for a, b in zip(moved, batch.displacement, strict=True)]
    assert same == (~geometry.moved).tolist()
    assert 0 < sum(same) < 12
    assert torch.equal(batch.displacement, before)
    assert torch.equal(moved[:, 0], moved[:, 1])  # both views by one geometry
    alone = LongitudinalAugment(**OFF | {"affine_probability": 0.5})(
        dataclasses.replace(history(1, first=5), displacement=batch.displacement[:1]), 1, 0
    )
    assert torch.equal(alone.displacement[0], moved[5])


def test_without_a_field_none_is_made():
    batch = history()
    assert LongitudinalAugment(**ALWAYS)(batch, 1, 0).displacement is None


def test_a_field_of_zeros_stays_zero():
    batch = dataclasses.replace(history(), displacement=torch.zeros(4, 2, 2, 8, 7))
    assert not LongitudinalAugment(**ALWAYS)(batch, 1, 0).displacement.any()


def test_beyond_the_border_the_nearest_displacement_is_nearer_the_truth_than_none():
    # A motion that goes on beyond the picture, as a breast's does; the shift shows places that were outside.
    size, wide = (64, 52), (104, 92)
    everywhere = smooth_motion(wide)
    inside = everywhere[..., 20:84, 20:72]
    shift = Geometry(np.array([[[1.0, 0.0, 2 * 8 / 51], [0.0, 1.0, 2 * 6 / 63]]]), np.array([True]))
    truth = everywhere[..., 26:90, 28:80]
    error = (move_displacement(inside, shift, size) - truth)[..., 58:, 44:].norm(dim=2).mean()
    assert error < 0.5 * truth[..., 58:, 44:].norm(dim=2).mean()
