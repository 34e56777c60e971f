from __future__ import annotations

import pytest
import torch

from mammorisk.registration.swin import SwinStage
from mammorisk.registration.window_attention import SwinLayer


@torch.no_grad()
@pytest.mark.parametrize("shift", [0, 2])
def test_a_position_reaches_its_window_and_no_further(shift):
    torch.manual_seed(0)
    layer, tokens = SwinLayer(8, 2, 5, shift, 2).eval(), torch.randn(1, 15, 15, 8)
    touched = tokens.clone()
    touched[0, 7, 7] = torch.randn(8)
    changed = (layer(touched) - layer(tokens)).abs().amax(-1)[0] > 1e-6
    rows, columns = changed.nonzero().unbind(1)
    first = 5 + shift  # windows start at 5, shifted ones at 7
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (first, first + 4, first, first + 4)


@torch.no_grad()
def test_opposite_edges_do_not_see_each_other_in_shifted_windows():
    torch.manual_seed(0)
    layer, tokens = SwinLayer(8, 2, 5, 2, 2).eval(), torch.randn(1, 10, 10, 8)
    touched = tokens.clone()
    touched[0, 0, 0] = torch.randn(8)
    changed = (layer(touched) - layer(tokens)).abs().amax(-1)[0] > 1e-6
    assert changed[:2, :2].all()
    assert changed.sum() == 4


def test_any_size_and_all_parameters_learn():
    stage = SwinStage(8, depth=2, num_heads=2, window=5, shift=2, mlp_ratio=2)
    for size in ((3, 4), (5, 5), (7, 13)):
        assert stage(torch.randn(2, 8, *size)).shape == (2, 8, *size)
    stage(torch.randn(1, 8, 7, 13)).sum().backward()
    assert all(p.grad is not None for p in stage.parameters())
