from __future__ import annotations

import pytest
import torch
from helpers.reference_blocks import wave

from mammorisk.registration.pyramid import (
    CoarseLevel,
    FineLevel,
    ImageNorm,
    PyramidEncoder,
    affine_field,
    conv_block,
    double,
)
from mammorisk.registration.swin import SwinStage
from mammorisk.warping import warp


def test_encoder_halves_from_level_to_level():
    maps = PyramidEncoder([4, 8, 16])(torch.rand(2, 1, 32, 48))
    assert [tuple(m.shape) for m in maps] == [(2, 4, 32, 48), (2, 8, 16, 24), (2, 16, 8, 12)]


def test_conv_block_normalises_each_image_and_channel():
    features = conv_block(1, 3)(wave((2, 1, 16, 16), 0.0))
    torch.testing.assert_close(features.mean((2, 3)), torch.zeros(2, 3), rtol=0, atol=1e-5)


def test_coarse_level_gives_features_and_six_parameters():
    level = CoarseLevel(4, 8, SwinStage(8, 2, 2, 5, 2, 2))
    features, affine = level(torch.rand(2, 4, 6, 7), torch.rand(2, 4, 6, 7))
    assert features.shape == (2, 8, 6, 7)
    assert affine.shape == (2, 6)
    assert affine.abs().max() < 1e-3  # untrained: next to the identity


def test_fine_level_refines_around_the_field_it_is_given():
    torch.manual_seed(0)
    level, field = FineLevel(4, 8, 6, None), torch.randn(1, 2, 12, 10)
    features, refined = level(torch.rand(1, 4, 12, 10), torch.rand(1, 4, 12, 10), torch.rand(1, 8, 6, 5), field)
    assert features.shape == (1, 6, 12, 10)
    assert not torch.equal(refined, field)
    torch.testing.assert_close(refined, field, rtol=0, atol=1e-3)


def test_fine_level_looks_at_the_warped_moving_features():
    # Same convention as everywhere: a moving map shifted against the fixed one looks unshifted under its field.
    torch.manual_seed(0)
    level, fixed, features = FineLevel(2, 4, 4, None).eval(), torch.rand(1, 2, 12, 10), torch.rand(1, 4, 6, 5)
    field = torch.zeros(1, 2, 12, 10)
    field[:, 0] = 3.0
    moving = fixed.roll(3, dims=2)
    with torch.no_grad():
        shifted, _ = level(fixed, moving, features, field)
        still, _ = level(fixed, warp(moving, field), features, torch.zeros_like(field))
    torch.testing.assert_close(shifted, still, rtol=1e-4, atol=1e-4)


def test_affine_field_is_off_the_identity_and_x_comes_first():
    assert not affine_field(torch.zeros(1, 6), (8, 6)).any()
    field = affine_field(torch.tensor([[0.0, 0.0, 0.4, 0.0, 0.0, 0.0]]), (9, 11))
    torch.testing.assert_close(field[0, 1], torch.full((9, 11), 0.4 * 5))
    assert not field[0, 0].any()


def test_doubling_keeps_the_motion():
    field = torch.ones(1, 2, 3, 4)
    assert torch.equal(double(field), 2 * torch.ones(1, 2, 6, 8))


@pytest.mark.parametrize("size", [(512, 416), (7, 5)])
def test_norms_of_channels_last_maps_are_exact(size):
    """PyTorch's own group and batch norms for such maps are off by 1e-4 and more."""
    torch.manual_seed(0)
    maps = torch.nn.functional.leaky_relu(0.8 + 0.3 * torch.randn(2, 4, *size), 0.2)
    exact = torch.nn.functional.instance_norm(maps.double()).float()
    with torch.no_grad():
        found = ImageNorm(4)(maps.contiguous(memory_format=torch.channels_last))
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, exact, rtol=0, atol=5e-6)
