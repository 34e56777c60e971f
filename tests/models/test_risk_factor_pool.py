from __future__ import annotations

import math

import pytest
import torch
from helpers.reference_blocks import assert_parity, outputs, weights
from torch import Tensor

from mammorisk.models.risk_factor_pool import RiskFactorClassifiers, known_values, probabilities, risk_factor_loss
from mammorisk.risk_factors import RISK_FACTORS, SIZES, TOTAL
from mammorisk.weights.loading import load_state
from mammorisk.weights.renaming import MIRAI_TRANSFORMER, rename

BLOCK = "b_mirai_transformer_riskfactors"


def reference_values(no_is_known: bool) -> Tensor:
    """The reference's risk factors in our form; zeros throughout are unknown to it, or (``no_is_known``) a no."""
    parts = outputs(BLOCK)["risk_factors_concat"].float().split(SIZES, dim=1)
    known = [(part.sum(1, keepdim=True) > 0) | (no_is_known and part.shape[1] == 1) for part in parts]
    return torch.cat([torch.where(there, part, -1.0) for there, part in zip(known, parts, strict=True)], dim=1)


@pytest.fixture(scope="module")
def published() -> RiskFactorClassifiers:
    classifiers = RiskFactorClassifiers(512).eval()
    state = {key: tensor for key, tensor in weights(BLOCK).items() if key.startswith("pool.") and "internal" not in key}
    load_state(classifiers, {key.replace("_fc", ""): tensor for key, tensor in state.items()}, [(r"^pool\.", "of.")])
    return classifiers


@torch.no_grad()
def test_parity_of_probabilities_and_of_the_fallback(published):
    hidden, known = outputs(BLOCK)["pool_hidden_if_unknown"].float(), reference_values(no_is_known=False)
    used = torch.where(known >= 0, known, probabilities(published(hidden[:, :512])))
    assert (known[0] >= 0).all()
    assert (known[1] == -1).any()
    assert_parity(used, hidden[:, 512:])


@torch.no_grad()
def test_parity_of_the_loss(published):
    told = published(outputs(BLOCK)["pool_hidden_if_unknown"].float()[:, :512])
    # The reference takes every yes or no that is not a yes for a no.
    assert_parity(risk_factor_loss(told, reference_values(no_is_known=True)), outputs(BLOCK)["pred_rf_loss"])


def test_the_table_renames_every_classifier():
    renamed = rename(weights(BLOCK), MIRAI_TRANSFORMER)
    own = RiskFactorClassifiers(512).state_dict()
    assert {key for key in renamed if key.startswith("risk_factors.")} == {f"risk_factors.{key}" for key in own}
    assert "pool.score.weight" in renamed


@torch.no_grad()
def test_classes_of_a_risk_factor_sum_to_one():
    chances = probabilities(3 * torch.randn(4, TOTAL))
    for size, part in zip(SIZES, chances.split(SIZES, dim=1), strict=True):
        assert ((part > 0) & (part < 1)).all()
        if size > 1:
            torch.testing.assert_close(part.sum(1), torch.ones(4))


def some_values() -> Tensor:
    """Three women: density D and no biopsy known; density A known; nothing known."""
    values = torch.full((3, TOTAL), -1.0)
    values[0, :4], values[1, :4] = torch.tensor([0.0, 0, 0, 1]), torch.tensor([1.0, 0, 0, 0])
    values[0, 5] = 0.0
    return values


def test_loss_by_hand_is_a_mean_over_the_known():
    logits = torch.zeros(3, TOTAL)
    logits[0, 3], logits[0, 5] = math.log(5), math.log(3)
    density = (math.log(8 / 5) + math.log(4)) / 2  # chances of 5/8 and 1/4
    biopsy = math.log(4)  # chance of a yes: 3/4
    torch.testing.assert_close(risk_factor_loss(logits, some_values()), torch.tensor((density + biopsy) / 2))


def test_what_is_unknown_teaches_nothing():
    logits = torch.randn(3, TOTAL, requires_grad=True)
    values = some_values()
    before = values.clone()
    risk_factor_loss(logits, values).backward()
    assert torch.equal(values, before)
    assert logits.grad is not None
    assert not logits.grad[values < 0].any()
    assert logits.grad[values >= 0].all()


def test_nothing_known_is_zero_with_a_gradient_of_zeros():
    logits = torch.randn(2, TOTAL, requires_grad=True)
    loss = risk_factor_loss(logits, known_values(None, logits))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_known_values_are_taken_as_they_are_and_their_number_is_checked():
    logits, values = torch.zeros(3, TOTAL), some_values()
    assert known_values(values, logits) is values
    assert (known_values(None, logits) == -1).all()
    with pytest.raises(ValueError, match=r"expected risk factors \[3, 100\], got \[3, 99\]"):
        known_values(values[:, 1:], logits)


def test_logits_are_float32_under_autocast():
    classifiers = RiskFactorClassifiers(8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        told = classifiers(torch.randn(2, 8))
    assert told.dtype == torch.float32
    assert told.shape == (2, TOTAL)
    assert len(classifiers.of) == len(RISK_FACTORS)
