from __future__ import annotations

import copy

import pytest
import torch
from helpers.model_cases import random_batch, snapshot
from torch import Tensor, nn

from mammorisk.batch import Batch, InputSpec, RiskOutput
from mammorisk.losses import hazard_bce
from mammorisk.models.base import Head, RiskModel, freeze, is_frozen, parameter_count

INPUTS = InputSpec("breast", exams=2)


class Small(RiskModel):
    """Two heads on an encoder with batch normalisation and dropout, and a part that may be frozen in it."""

    inputs = INPUTS

    def __init__(self, heads: dict[str, Head] | None = None, auxiliary: float | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Conv2d(1, 3, 3, stride=8), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5))
        self.current, self.prior = nn.Linear(3, 5), nn.Linear(3, 5)
        self.heads = heads or {"current": Head(), "prior": Head(weight=0.5, exam=-2)}
        self.primary = "current"
        self.loss_function = hazard_bce
        self.auxiliary = auxiliary

    def forward(self, batch: Batch) -> RiskOutput:
        features = self.encoder(batch.images.flatten(0, 2)).mean((-2, -1))  # [B*T*V, 1, H, W] -> [B*T*V, C]
        features = features.unflatten(0, batch.images.shape[:3]).mean(2)  # [B, T, C]
        logits = {"current": self.current(features[:, -1]), "prior": self.prior(features[:, -2])}
        return RiskOutput(logits, {} if self.auxiliary is None else {"extra": torch.tensor(self.auxiliary)})


def two_futures() -> Batch:
    """A batch in which the label of the prior exam differs from that of the current one."""
    batch = random_batch(INPUTS, samples=4)
    batch.target[:, 0] = 1 - batch.target[:, 0]
    batch.target_mask[:, 0, 3:] = 0
    return batch


def modes(module: nn.Module) -> set[bool]:
    return {part.training for part in module.modules()}


def test_frozen_modules_stay_in_eval():
    model = Small().train()
    freeze(model.encoder)
    assert modes(model.encoder) == {False}
    for set_mode in (model.train, model.eval, lambda: model.train(True), model.train):
        assert set_mode() is model
        assert modes(model.encoder) == {False}
    assert model.training
    assert modes(model.current) == modes(model.prior) == {True}


def test_frozen_modules_stay_in_eval_inside_a_wrapper():
    model = Small()
    freeze(model.encoder)
    nn.ModuleDict({"module": model}).train()  # as DistributedDataParallel holds it
    assert modes(model.encoder) == {False}
    assert modes(model.current) == {True}


def test_what_is_not_frozen_changes_its_mode():
    model = Small().train()
    assert modes(model) == {True}
    assert modes(model.eval()) == {False}
    assert modes(model.train()) == {True}


def test_a_part_can_be_frozen_alone():
    model = Small()
    freeze(model.encoder[1])
    model.train()
    assert [part.training for part in model.encoder] == [True, False, True, True]
    assert [is_frozen(part) for part in model.encoder] == [False, True, False, False]
    assert not is_frozen(model.encoder)
    assert not is_frozen(model)


def test_a_frozen_module_does_not_change_in_training():
    model, batch = Small(), two_futures()
    assert freeze(model.encoder) is model.encoder
    before = snapshot(model.encoder)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        model.loss(model(batch), batch).backward()
        optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in snapshot(model.encoder).items())
    assert all(p.grad is None for p in model.encoder.parameters())
    assert torch.equal(model(batch).logits["current"], model(batch).logits["current"])  # no dropout


def test_without_freezing_the_statistics_do_change():
    model, batch = Small().train(), two_futures()
    before = snapshot(model.encoder)
    model(batch)
    assert not torch.equal(before["1.running_mean"], model.encoder[1].running_mean)


def test_a_copy_stays_frozen():
    model = Small()
    freeze(model.encoder)
    assert modes(copy.deepcopy(model).train().encoder) == {False}


def test_freezing_is_not_in_the_state_dict():
    model, names = Small(), set(Small().state_dict())
    freeze(model.encoder)
    assert set(model.state_dict()) == names


def test_loss_is_the_weighted_sum_of_the_heads_on_their_own_exams():
    model, batch = Small().eval(), two_futures()
    output = model(batch)
    current = hazard_bce(output.logits["current"], batch.target[:, 1], batch.target_mask[:, 1])
    prior = hazard_bce(output.logits["prior"], batch.target[:, 0], batch.target_mask[:, 0])
    assert abs(current - prior) > 0.01
    torch.testing.assert_close(model.loss(output, batch), current + 0.5 * prior)


def test_shares_weigh_each_head_by_its_exam_unless_the_loss_averages_something_else():
    model, batch = Small().eval(), two_futures()
    output, share = model(batch), torch.tensor([0.25, 3.0])
    current = hazard_bce(output.logits["current"], batch.target[:, 1], batch.target_mask[:, 1])
    prior = hazard_bce(output.logits["prior"], batch.target[:, 0], batch.target_mask[:, 0])
    torch.testing.assert_close(model.loss(output, batch, share), 3 * current + 0.25 * 0.5 * prior)
    model.averages_known_years = False
    assert torch.equal(model.loss(output, batch, share), model.loss(output, batch))


@pytest.mark.parametrize("exam", [-1, -2])
def test_a_head_sees_the_label_of_its_exam_only(exam):
    model, batch = Small(heads={"current": Head(exam=exam)}).eval(), two_futures()
    output, other = model(batch), two_futures()
    other.target[:, -1 if exam == -2 else -2] = 0.5
    other.target_mask[:, -1 if exam == -2 else -2] = 0
    assert torch.equal(model.loss(output, batch), model.loss(output, other))
    other.target[:, exam] = 0.5
    assert not torch.equal(model.loss(output, batch), model.loss(output, other))


def test_only_heads_that_are_declared_are_trained():
    model, batch = Small(heads={"current": Head()}), two_futures()
    model.train()
    model.loss(model(batch), batch).backward()
    assert model.prior.weight.grad is None
    assert model.current.weight.grad is not None


def test_auxiliary_losses_are_added_with_weight_one():
    batch = two_futures()
    plain, with_extra = Small().eval(), Small(auxiliary=2.5).eval()
    difference = with_extra.loss(with_extra(batch), batch) - plain.loss(plain(batch), batch)
    assert difference.item() == pytest.approx(2.5)


def test_pitfall_15_the_loss_does_not_write_the_batch():
    model, batch = Small(), two_futures()
    before = batch.target.clone(), batch.target_mask.clone()
    model.loss(model(batch), batch)
    assert torch.equal(batch.target, before[0])
    assert torch.equal(batch.target_mask, before[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_risk_and_loss_of_half_precision_logits_are_float32(dtype):
    model, batch = Small(), two_futures()
    logits = {"current": torch.randn(4, 5).to(dtype), "prior": torch.randn(4, 5).to(dtype)}
    output = RiskOutput(logits, {"extra": torch.tensor(1.0, dtype=dtype)})
    assert model.risk(output).dtype == model.loss(output, batch).dtype == torch.float32
    assert torch.equal(model.risk(output), logits["current"].double().sigmoid().float())  # rounded once


def test_every_loss_function_is_given_float32():
    model, batch, given = Small(), two_futures(), []
    model.loss_function = lambda logits, target, mask: given.append(logits.dtype) or logits.mean()
    model.loss(RiskOutput({name: torch.zeros(4, 5, dtype=torch.float16) for name in model.heads}), batch)
    assert given == [torch.float32] * 2
    model.heads = {}
    half = RiskOutput({}, {name: torch.tensor(40_000.0, dtype=torch.float16) for name in ("one", "other")})
    assert model.loss(half, batch).item() == pytest.approx(80_000, rel=1e-3)  # more than float16 can hold


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 100.0])
def test_risk_never_falls_with_the_years_and_is_a_probability(dtype, scale):
    torch.manual_seed(1)
    logits = (scale * torch.randn(64, 5)).cumsum(1).sort(dim=1).values.to(dtype)
    risk = Small().risk(RiskOutput({"current": logits, "prior": -logits}))
    assert risk.shape == (64, 5)
    assert (risk.diff(dim=1) >= 0).all()
    assert ((risk >= 0) & (risk <= 1)).all()


def test_risk_is_that_of_the_primary_head():
    model = Small()
    logits: dict[str, Tensor] = {"current": torch.zeros(1, 5), "prior": torch.full((1, 5), 9.0)}
    assert model.risk(RiskOutput(logits)).tolist() == [[0.5] * 5]
    model.primary = "prior"
    assert float(model.risk(RiskOutput(logits)).min()) > 0.99


def test_a_model_without_forward_says_so():
    class Unfinished(RiskModel):
        pass

    with pytest.raises(TypeError, match="Unfinished does not implement forward"):
        Unfinished()(two_futures())


def test_parameter_count():
    model = Small()
    encoder, head = 3 * 9 + 3 + 3 + 3, 3 * 5 + 5
    assert parameter_count(model) == {"total": encoder + 2 * head, "trainable": encoder + 2 * head}
    freeze(model.encoder)
    assert parameter_count(model) == {"total": encoder + 2 * head, "trainable": 2 * head}
    assert parameter_count(nn.ReLU()) == {"total": 0, "trainable": 0}


def test_a_shared_parameter_counts_once():
    model = Small()
    model.prior.weight = model.current.weight
    assert parameter_count(model)["total"] == parameter_count(Small())["total"] - 15
