from __future__ import annotations

import pytest
import torch
from helpers.reference_blocks import assert_parity, outputs, wave, weights
from hypothesis import given, settings
from hypothesis import strategies as st

from mammorisk.models.heads import CumulativeProbability
from mammorisk.weights.loading import load_state
from mammorisk.weights.renaming import CUMULATIVE


@torch.no_grad()
def test_parity_with_cumulative_probability_layer():
    layer, reference, features = CumulativeProbability(64), outputs("c_cumulative_probability"), wave((3, 64), 2)
    load_state(layer, weights("c_cumulative_probability"), CUMULATIVE)
    assert_parity(layer(features), reference["logits"])
    assert_parity(layer.hazards(features).relu(), reference["hazards"])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(1e-3, 1e3), years=st.integers(1, 10))
def test_risk_never_falls_with_the_years(seed, scale, years):
    torch.manual_seed(seed)
    layer = CumulativeProbability(16, max_followup=years)
    for dtype in (torch.float32, torch.bfloat16):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = layer(scale * torch.randn(5, 16))
        assert logits.shape == (5, years)
        assert logits.dtype == torch.float32
        assert (logits.diff(dim=-1) >= 0).all()


def test_logits_are_base_plus_summed_hazards():
    layer = CumulativeProbability(1, max_followup=3)
    with torch.no_grad():
        for linear, weight, bias in ((layer.base, [[2.0]], [0.5]), (layer.hazards, [[1.0], [-1.0], [3.0]], [0, 0, 1])):
            linear.weight.copy_(torch.tensor(weight))
            linear.bias.copy_(torch.tensor(bias))
    assert layer(torch.tensor([[1.0]])).tolist() == [[3.5, 3.5, 7.5]]
    assert layer(torch.tensor([[-1.0]])).tolist() == [[pytest.approx(v) for v in (-1.5, -0.5, -0.5)]]
