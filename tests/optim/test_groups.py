from __future__ import annotations

import pytest
import torch
from helpers.model_cases import small_encoder
from torch import nn

from mammorisk.errors import UserError
from mammorisk.models.base import freeze
from mammorisk.models.mirai import Mirai
from mammorisk.optim.groups import parameter_groups


def model(**encoder: object) -> Mirai:
    return Mirai(encoder=small_encoder(**encoder))


def test_the_encoder_learns_at_its_scale_and_the_rest_at_the_rate():
    risk_model = model()
    new, encoder = parameter_groups(risk_model, 1e-3, 0.1)
    assert (new["name"], new["lr"]) == ("new", 1e-3)
    assert (encoder["name"], encoder["lr"]) == ("encoder", pytest.approx(1e-4))
    assert {id(p) for p in encoder["params"]} == {id(p) for p in risk_model.encoder.parameters()}


def test_every_parameter_is_in_exactly_one_group():
    risk_model = model()
    grouped = [id(p) for group in parameter_groups(risk_model, 1e-3, 0.1) for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in risk_model.parameters()}


def test_a_parameter_the_encoder_shares_is_the_encoders():
    risk_model = model()
    risk_model.shared = next(risk_model.encoder.parameters())
    grouped = {group["name"]: [id(p) for p in group["params"]] for group in parameter_groups(risk_model, 1.0, 1.0)}
    assert grouped["encoder"].count(id(risk_model.shared)) == 1
    assert id(risk_model.shared) not in grouped["new"]


def test_frozen_parameters_are_in_no_group():
    risk_model = model(freeze=True)
    risk_model.head_again = freeze(nn.Linear(2, 2))
    (group,) = parameter_groups(risk_model, 1e-3, 0.1)
    assert group["name"] == "new"
    assert all(p.requires_grad for p in group["params"])
    assert not {id(p) for p in group["params"]} & {id(p) for p in risk_model.encoder.parameters()}


def test_a_model_without_an_encoder_has_one_group():
    (group,) = parameter_groups(nn.Linear(3, 2), 0.5, 0.1)
    assert (group["name"], group["lr"], len(group["params"])) == ("new", 0.5, 2)


def test_only_the_encoder_may_be_trained():
    risk_model = model()
    for name, parameter in risk_model.named_parameters():
        parameter.requires_grad_(name.startswith("encoder."))
    (group,) = parameter_groups(risk_model, 1e-3, 0.1)
    assert group["name"] == "encoder"


def test_an_optimiser_takes_them():
    groups = parameter_groups(model(), 1e-3, 0.1)
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, pytest.approx(1e-4)]


def test_nothing_to_train_is_a_message():
    with pytest.raises(UserError, match="everything is frozen"):
        parameter_groups(freeze(nn.Linear(3, 2)), 1e-3, 0.1)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_rates_are_above_zero(bad):
    with pytest.raises(UserError, match=r"optim\.learning_rate="):
        parameter_groups(model(), bad, 0.1)
    with pytest.raises(UserError, match=r"optim\.encoder_lr_scale="):
        parameter_groups(model(), 1e-3, bad)
