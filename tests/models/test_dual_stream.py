from __future__ import annotations

import pytest
import torch
from helpers.reference_blocks import assert_parity, outputs, wave, weights

from mammorisk.models.dual_stream import DualStreamBlock
from mammorisk.weights.loading import load_state
from mammorisk.weights.renaming import DUAL_STREAM


def tokens(*maps: torch.Tensor) -> torch.Tensor:
    """Maps [B, D, h, w] of the views -> [B, V, h*w, D]."""
    return torch.stack(maps, 1).flatten(3).transpose(2, 3)


@pytest.fixture
def reference_block() -> DualStreamBlock:
    block = DualStreamBlock(96, num_heads=4, ffn_expansion=4).eval()
    load_state(block, weights("f_cross_attention_block"), DUAL_STREAM)
    return block


@torch.no_grad()
def test_parity_with_cross_attention_block(reference_block):
    reference = outputs("f_cross_attention_block")
    result = reference_block(tokens(wave((2, 96, 4, 3), 11), wave((2, 96, 4, 3), 12.3)))
    assert_parity(result, tokens(reference["f_cc"], reference["f_mlo"]))


@torch.no_grad()
def test_views_are_not_interchangeable(reference_block):
    cc, mlo = wave((2, 96, 4, 3), 11), wave((2, 96, 4, 3), 12.3)
    swapped = reference_block(tokens(mlo, cc)).flip(1)
    with pytest.raises(AssertionError):
        assert_parity(swapped, reference_block(tokens(cc, mlo)))


def test_each_view_looks_at_the_other_unless_it_is_absent():
    block, x = DualStreamBlock(24, 3).eval(), torch.randn(2, 2, 6, 24)
    changed = x.clone()
    changed[:, 1] = 3.0
    assert not torch.allclose(block(x)[:, 0], block(changed)[:, 0])
    only_cc = torch.tensor([[True, False]] * 2)
    assert torch.equal(block(x, only_cc)[:, 0], block(changed, only_cc)[:, 0])
    both = torch.ones(2, 2, dtype=torch.bool)
    assert torch.equal(block(x, both), block(x))


def test_absence_is_told_per_sample_and_view():
    block, x = DualStreamBlock(24, 3).eval(), torch.randn(2, 2, 6, 24)
    mixed = block(x, torch.tensor([[True, False], [True, True]]))
    torch.testing.assert_close(mixed[1], block(x)[1])
    assert not torch.allclose(mixed[0, 0], block(x)[0, 0])
    torch.testing.assert_close(mixed[0, 1], block(x)[0, 1])  # the absent one still looks; nobody reads it


def test_dropout_and_depth_act_in_training_only():
    torch.manual_seed(0)
    block, x = DualStreamBlock(24, 3, dropout=0.5, stochastic_depth=0.5), torch.randn(2, 2, 6, 24)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))


def test_takes_two_views():
    with pytest.raises(ValueError, match=r"expected tokens \[B, 2, N, D\], got \[1, 3, 6, 24\]"):
        DualStreamBlock(24, 3)(torch.randn(1, 3, 6, 24))
