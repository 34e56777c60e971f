from __future__ import annotations

import json

import pytest
from helpers.reference_blocks import REFERENCE

from mammorisk.risk_factors import RISK_FACTORS, SIZES, TOTAL, RiskFactor


def test_names_order_and_sizes_are_the_released_weights():
    reference = json.loads((REFERENCE / "b_mirai_transformer_riskfactors.keys.json").read_text())
    assert list(RISK_FACTORS) == reference["risk_factor_keys"]
    assert {name: factor.size for name, factor in RISK_FACTORS.items()} == reference["rf_dims"]
    assert reference["vector_length"] == TOTAL == sum(SIZES) == 100


@pytest.mark.parametrize(
    ("factor", "size"),
    [(RiskFactor(), 1), (RiskFactor(limits=(1, 3)), 3), (RiskFactor(codes=("a", "b", "c", "d")), 4)],
)
def test_size_follows_from_the_classes(factor, size):
    assert factor.size == size


def test_limits_rise():
    for name, factor in RISK_FACTORS.items():
        assert list(factor.limits) == sorted(set(factor.limits)), name
        assert not (factor.limits and factor.codes), name


def test_only_ages_at_which_something_happened_can_lie_ahead():
    ahead = [name for name, factor in RISK_FACTORS.items() if factor.in_years_of_age]
    assert ahead == ["menarche_age", "menopause_age", "first_pregnancy_age", "ovarian_cancer_age"]
