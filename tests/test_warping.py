from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from helpers.reference_blocks import assert_parity, outputs
from hypothesis import given, settings
from hypothesis import strategies as st

from mammorisk.warping import affine_displacement, resize_displacement, warp


def constant_field(size, dy, dx, count=1):
    return torch.tensor([dy, dx], dtype=torch.float32).reshape(1, 2, 1, 1).expand(count, 2, *size)


def bump(size, row, column, width=0.08):
    """A Gaussian spot at (row, column), given and sized as shares of the image."""
    r, c = torch.arange(size[0])[:, None] / size[0], torch.arange(size[1]) / size[1]
    return torch.exp(-((r - row) ** 2 + (c - column) ** 2) / (2 * width**2))[None, None]


def centre_of_mass(image):
    weight = image[0, 0] / image.sum()
    r, c = torch.arange(image.shape[-2]), torch.arange(image.shape[-1])
    return float((weight.sum(1) * r).sum()), float((weight.sum(0) * c).sum())


def test_warp_equals_mammoregnets():
    reference = outputs("d_spatial_transformers")
    torch.testing.assert_close(
        warp(reference["src"], reference["flow"]), reference["warp_mammoregnet_dy_dx"], rtol=1e-5, atol=1e-6
    )


def test_bcrbench_warps_with_the_axes_swapped():
    # Our difference on purpose (docs/pitfalls.md#p3): BCRBench reads the same field as (dx, dy).
    reference = outputs("d_spatial_transformers")
    swapped = warp(reference["src"], reference["flow"].flip(1))
    torch.testing.assert_close(swapped, reference["warp_bcrbench_common_dx_dy"], rtol=1e-5, atol=1e-5)


def test_bcrbench_rescales_each_axis_by_the_others_factor():
    reference = outputs("d_spatial_transformers")
    for (h, w), name in (((8, 5), "8x5"), ((4, 5), "4x5")):
        ours = resize_displacement(reference["flow_big"], (h, w))
        theirs = torch.stack((ours[:, 0] * (w / 40) / (h / 64), ours[:, 1] * (h / 64) / (w / 40)), dim=1)
        assert_parity(theirs, reference[f"resize_flow_bcrbench_{name}"])


@settings(max_examples=20, deadline=None)
@given(dy=st.integers(-5, 5), dx=st.integers(-4, 4))
def test_integer_shift_is_indexing(dy, dx):
    image = torch.rand(2, 3, 14, 11)
    warped = warp(image, constant_field((14, 11), float(dy), float(dx), count=2))
    padded = F.pad(image, (4, 4, 5, 5))  # zeros outside
    expected = padded[..., 5 + dy : 19 + dy, 4 + dx : 15 + dx]
    torch.testing.assert_close(warped, expected, rtol=0, atol=1e-5)


def test_half_a_pixel_is_the_mean_of_two():
    image = torch.rand(1, 1, 9, 7)
    down = warp(image, constant_field((9, 7), 0.5, 0.0))
    torch.testing.assert_close(down[..., :-1, :], (image[..., 1:, :] + image[..., :-1, :]) / 2)


def test_positive_dy_shows_what_is_further_down():
    image = torch.zeros(1, 1, 20, 12)
    image[..., 15, 3] = 1
    assert warp(image, constant_field((20, 12), 5, 0))[0, 0, 10, 3] == pytest.approx(1, abs=1e-5)
    assert warp(image, constant_field((20, 12), 0, -4))[0, 0, 15, 7] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("small", [(64, 26), (32, 52), (16, 13)])
def test_pitfall_03_warp_axes_and_rescaling(small):
    # A lesion that lies 12 % further down and 5 % further left in the prior, on grids of unlike shape.
    big = (128, 104)
    moves = [constant_field(size, 0.12 * size[0], -0.05 * size[1]) for size in (big, small)]
    torch.testing.assert_close(resize_displacement(moves[0], small), moves[1])
    torch.testing.assert_close(resize_displacement(moves[1], big), moves[0])
    for size in (big, small):
        fixed, moving = bump(size, 0.4, 0.5), bump(size, 0.52, 0.45)
        aligned = warp(moving, resize_displacement(moves[0], size))
        assert centre_of_mass(aligned) == pytest.approx(centre_of_mass(fixed), abs=0.02)
        swapped = warp(moving, resize_displacement(moves[0], size).flip(1))
        assert (aligned - fixed).abs().max() < 0.1 < (swapped - fixed).abs().max()


def test_corners_stay_corners_when_resized():
    field = torch.randn(1, 2, 12, 9)
    resized = resize_displacement(field, (24, 27))
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        expected = field[0, :, row, column] * torch.tensor([2.0, 3.0])
        torch.testing.assert_close(resized[0, :, row, column], expected)


def test_same_size_is_the_same_field():
    field = torch.randn(1, 2, 6, 5)
    assert torch.equal(resize_displacement(field, (6, 5)), field)


def test_zero_displacement_gives_the_image_back():
    image = torch.rand(1, 2, 60, 50)
    torch.testing.assert_close(warp(image, torch.zeros(1, 2, 60, 50)), image, rtol=0, atol=2e-5)


def test_outside_is_zero_or_the_nearest_value_of_the_border():
    image = torch.rand(1, 1, 9, 7)
    field = constant_field((9, 7), 0.0, 3.0)
    assert not warp(image, field)[..., 4:].any()
    nearest = warp(image, field, outside="border")
    torch.testing.assert_close(nearest[..., 4:], image[..., -1:].expand(1, 1, 9, 3))
    torch.testing.assert_close(nearest[..., :4], image[..., 3:])


def test_half_precision_is_warped_at_full_positions():
    image = bump((16, 1500), 0.5, 0.95, width=0.01)
    field = constant_field((16, 1500), 0.0, 2.5)
    half = warp(image.bfloat16(), field)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, warp(image.bfloat16().float(), field).bfloat16())


def test_warp_has_gradients_for_image_and_field():
    image = torch.rand(1, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    field = (0.3 + 0.2 * torch.rand(1, 2, 6, 5, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(warp, (image, field))


def test_warp_refuses_a_field_of_another_size():
    with pytest.raises(ValueError, match=r"\[1, 2, 8, 6\]"):
        warp(torch.rand(1, 1, 8, 6), torch.zeros(1, 2, 6, 8))


def test_affine_identity_is_exactly_zero():
    assert not affine_displacement(torch.eye(2, 3).expand(2, 2, 3), (7, 5)).any()


def test_affine_translation_is_in_pixels_of_each_axis():
    matrix = torch.tensor([[[1.0, 0.0, 2 * 3 / 19], [0.0, 1.0, 2 * -5 / 30]]])  # x by 3 pixels, y by -5
    torch.testing.assert_close(affine_displacement(matrix, (31, 20)), constant_field((31, 20), -5.0, 3.0))


def test_affine_rotation_by_a_quarter_turn():
    # Output (x, y) shows (-y, x): the picture turned by 90 degrees, on a square where that is a rotation of pixels.
    image = torch.rand(1, 1, 9, 9)
    angle = math.pi / 2
    matrix = torch.tensor([[[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]]])
    turned = warp(image, affine_displacement(matrix, (9, 9)))
    torch.testing.assert_close(turned, torch.rot90(image, 1, (2, 3)), rtol=0, atol=1e-5)


def test_affine_field_equals_affine_grid():
    matrix, image = torch.eye(2, 3) + 0.2 * torch.randn(3, 2, 3), torch.rand(3, 1, 22, 17)
    expected = F.grid_sample(image, F.affine_grid(matrix, [3, 1, 22, 17], align_corners=True), align_corners=True)
    torch.testing.assert_close(warp(image, affine_displacement(matrix, (22, 17))), expected, rtol=0, atol=1e-5)


def test_affine_positions_survive_autocast():
    matrix = torch.tensor([[[0.97, 0.0, 0.013], [0.0, 1.03, -0.021]]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        field = affine_displacement(matrix, (512, 400))
    torch.testing.assert_close(field, affine_displacement(matrix, (512, 400)))
