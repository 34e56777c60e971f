from __future__ import annotations

import pytest
import torch
from helpers.model_cases import random_batch
from torch import Tensor, nn

from mammorisk.batch import InputSpec
from mammorisk.models.alignment import displacement_of_last_pair, displacement_to_prior, mask_images, warp_features


class Shift(nn.Module):
    """Every place of the fixed image lies (dy, dx) pixels away in the moving one; remembers how it was asked."""

    def __init__(self, dy: float, dx: float) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor([dy, dx]))

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        self.asked = (fixed, moving, torch.is_autocast_enabled("cpu"))
        return torch.zeros_like(fixed).repeat(1, 2, 1, 1) + self.shift.view(1, 2, 1, 1)


def test_pitfall_11_no_graph_and_no_autocast():
    registration, current, prior = Shift(1.0, 2.0), torch.rand(2, 1, 8, 6), torch.rand(2, 1, 8, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        field = displacement_to_prior(registration, current.bfloat16(), prior)
    fixed, moving, autocast = registration.asked
    assert not field.requires_grad
    assert not autocast
    assert fixed.dtype == torch.float32
    torch.testing.assert_close(fixed, current, atol=4e-3, rtol=4e-3)
    assert torch.equal(moving, prior)


@pytest.mark.parametrize(("size", "shift"), [((32, 24), (2, 1)), ((16, 24), (1, -2))])
def test_pitfall_03_features_move_by_their_share_of_each_axis(size, shift):
    # Field at four times the features' size in rows, twice in columns. Away from the corners, on which both grids
    # are aligned, a shift by whole features is a shift.
    features = torch.rand(1, 3, *size)
    field = torch.zeros(1, 2, 4 * size[0], 2 * size[1])
    field[:, 0], field[:, 1] = 4 * shift[0], 2 * shift[1]
    moved = warp_features(features, field)
    expected = features.roll((-shift[0], -shift[1]), (2, 3))
    torch.testing.assert_close(moved[..., 3:-3, 3:-3], expected[..., 3:-3, 3:-3], atol=1e-4, rtol=1e-4)


def test_features_get_a_gradient_and_keep_their_type():
    features = torch.rand(1, 2, 4, 4, dtype=torch.bfloat16, requires_grad=True)
    moved = warp_features(features, torch.zeros(1, 2, 16, 16))
    moved.float().sum().backward()
    assert moved.dtype == torch.bfloat16
    assert (features.grad == 1).all()


def test_the_batchs_own_field_comes_before_the_registration():
    batch, registration = random_batch(InputSpec("breast", 2), 2, (8, 6)), Shift(1.0, 2.0)
    asked = displacement_of_last_pair(batch, registration, batch.images)
    assert asked.shape == (4, 2, 8, 6)
    assert torch.equal(registration.asked[0], batch.images[:, 1].flatten(0, 1))  # the current exam is fixed
    assert torch.equal(registration.asked[1], batch.images[:, 0].flatten(0, 1))
    del registration.asked
    batch.displacement = torch.randn(2, 2, 2, 4, 3)
    batch.view_mask[1, 0, 1] = False
    given = displacement_of_last_pair(batch, registration, batch.images)
    assert not hasattr(registration, "asked")
    assert torch.equal(given[:3], batch.displacement.flatten(0, 1)[:3])
    assert not given[3].any()


def test_absent_images_are_zero_whatever_stands_there():
    images, present = torch.rand(2, 3, 1, 4, 4), torch.tensor([[True, False, True], [True, True, True]])
    images[0, 1] = torch.nan
    assert not mask_images(images, present, complete=False)[0, 1].any()
    assert torch.equal(mask_images(images, present, complete=False)[1], images[1])
    assert mask_images(images, present, complete=True) is images
