"""What holds for every model of ``conf/model``, built from its YAML in the quick start's form. New ones are found."""

from __future__ import annotations

import copy
from dataclasses import fields

import pytest
import torch
from helpers.composed_configs import composed
from helpers.model_cases import losses_while_fitting, quick_model, random_batch, snapshot, yaml_differences
from torch import Tensor, nn

from mammorisk.batch import Batch
from mammorisk.config import options
from mammorisk.models.base import RiskModel, is_frozen
from mammorisk.warping import resize_displacement

MODELS = options("model")
LONGITUDINAL = [name for name in MODELS if "missing_priors" in composed(f"model={name}").model]
ALIGNED = [name for name in MODELS if "registration" in composed(f"model={name}").model]
RUBBISH = [0.7, 1e6, float("nan")]


def outputs(model: RiskModel, batch: Batch) -> dict[str, Tensor]:
    """Logits of all heads and auxiliary losses in eval mode."""
    model.eval()
    with torch.no_grad():
        output = model(batch)
    return {**output.logits, **{f"auxiliary {name}": value for name, value in output.auxiliary.items()}}


def relative_difference(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", MODELS)
def test_the_yaml_is_the_constructor(name):
    # Which encoder a model starts from is its own choice: the encoder's constructor is everybody's.
    others = [line for line in yaml_differences(f"model/{name}.yaml") if ".encoder." not in line]
    assert others == []


@pytest.mark.parametrize("name", MODELS)
def test_risks_are_probabilities_that_never_fall_and_the_loss_is_a_number(name):
    model = quick_model(name).eval()
    batch = random_batch(model.inputs)
    output = model(batch)
    risk = model.risk(output)
    assert risk.shape == (3, 5)
    assert ((risk >= 0) & (risk <= 1)).all()
    assert (risk.diff(dim=1) >= 0).all()
    loss = model.loss(output, batch)
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert set(model.heads) == set(output.logits)
    assert model.primary in output.logits


@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_trainable_parameter_and_no_frozen_one(name):
    model = quick_model(name).train()
    batch = random_batch(model.inputs, samples=4)
    model.loss(model(batch), batch).backward()
    for key, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key
    dead = [key for key, p in model.named_parameters() if p.grad is not None and not p.grad.any()]
    # A residual branch that starts at zero passes none on, and a scan of one step has no decay.
    assert len(dead) < 0.6 * len(list(model.parameters()))


@pytest.mark.parametrize("name", MODELS)
def test_pitfall_05_frozen_parts_change_no_buffer_and_no_weight(name):
    model = quick_model(name, "model.encoder.freeze=true", "registration=identity")
    before = snapshot(model)
    losses_while_fitting(model, random_batch(model.inputs), steps=3)
    frozen = [key for key, module in model.named_modules() if key and is_frozen(module)]
    assert "encoder" in frozen
    after = model.state_dict()
    inside = [key for key in after if key.startswith(tuple(f"{part}." for part in frozen))]
    assert [key for key in inside if not torch.equal(after[key], before[key])] == []
    assert [key for key in after if key not in inside and not torch.equal(after[key], before[key])] != []


@pytest.mark.parametrize("name", MODELS)
def test_pitfall_15_neither_forward_nor_loss_writes_to_the_batch(name):
    model = quick_model(name).train()
    batch = random_batch(model.inputs)
    before = copy.deepcopy(batch)
    model.loss(model(batch), batch).backward()
    for field in fields(Batch):
        value, copied = getattr(batch, field.name), getattr(before, field.name)
        assert torch.equal(value, copied) if isinstance(value, Tensor) else value == copied, field.name


@pytest.mark.parametrize("name", LONGITUDINAL)
@pytest.mark.parametrize("rubbish", RUBBISH)
def test_what_stands_in_a_masked_prior_exam_changes_no_bit(name, rubbish):
    model = quick_model(name, "model.missing_priors=mask")
    batch = random_batch(model.inputs)
    batch.view_mask[1, 0], batch.target_mask[1, 0], batch.target[1, 0] = False, 0, 0
    before = outputs(model, batch)
    batch.images[1, 0], batch.time_gap[1, 0] = rubbish, 4.5
    after = outputs(model, batch)
    assert all(value.isfinite().all() for value in after.values())
    assert [key for key in before if not torch.equal(after[key], before[key])] == []


class KnownMotion(nn.Module):
    """The same smooth field for every pair of images; counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        r, c = torch.linspace(0, 3, 64)[:, None], torch.linspace(0, 2, 52)
        self.field = torch.stack((6 * torch.sin(r + c), 5 * torch.cos(2 * c - r)))[None]
        self.calls = 0

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        self.calls += 1
        return self.field.expand(len(fixed), -1, -1, -1)


@pytest.mark.parametrize("name", ALIGNED)
@pytest.mark.parametrize("size", [(64, 52), (8, 7)], ids=["of the image", "of the features"])
def test_a_field_in_the_batch_is_used_and_the_registration_not_asked(name, size):
    model, motion = quick_model(name), KnownMotion()
    model.registration, still = motion, model.registration
    batch = random_batch(model.inputs)
    expected = outputs(model, batch)
    assert motion.calls == 1
    field = resize_displacement(motion.field, size)
    batch.displacement = field.expand(len(batch), model.inputs.views, -1, -1, -1).clone()
    found = outputs(model, batch)
    assert motion.calls == 1
    assert [key for key in expected if not torch.equal(found[key], expected[key])] == []
    batch.displacement.zero_()
    assert any(not torch.equal(value, expected[key]) for key, value in outputs(model, batch).items())
    model.registration = still


@pytest.mark.parametrize("name", ALIGNED)
def test_a_model_says_whom_it_asks_and_on_which_grid_it_warps(name):
    model = quick_model(name)
    assert model.aligns_by is model.registration
    assert is_frozen(model.aligns_by)
    with torch.no_grad():
        features = model.encoder(random_batch(model.inputs).images[:1, 0, 0])
    assert model.field_size((64, 52)) == features.shape[-2:]


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ALIGNED])
def test_a_model_without_a_registration_asks_none(name):
    assert quick_model(name).aligns_by is None


@pytest.mark.parametrize("name", ALIGNED)
@pytest.mark.parametrize("rubbish", RUBBISH)
def test_what_stands_in_the_field_of_a_masked_prior_changes_no_bit(name, rubbish):
    model = quick_model(name, "model.missing_priors=mask")
    batch = random_batch(model.inputs)
    batch.displacement = torch.zeros(3, model.inputs.views, 2, 8, 7)
    batch.view_mask[1, 0] = False
    before = outputs(model, batch)
    batch.displacement[1] = rubbish
    after = outputs(model, batch)
    assert [key for key in before if not torch.equal(after[key], before[key])] == []


@pytest.mark.parametrize("name", [name for name in MODELS if "missing_views" in composed(f"model={name}").model])
@pytest.mark.parametrize("rubbish", RUBBISH)
def test_what_stands_in_a_masked_view_changes_no_bit(name, rubbish):
    model = quick_model(name, "model.missing_views=mask")
    batch = random_batch(model.inputs)
    batch.view_mask[1, -1, 0] = batch.view_mask[2, 0, 1] = False
    before = outputs(model, batch)
    batch.images[1, -1, 0] = batch.images[2, 0, 1] = rubbish
    after = outputs(model, batch)
    assert all(value.isfinite().all() for value in after.values())
    assert [key for key in before if not torch.equal(after[key], before[key])] == []


@pytest.mark.parametrize("name", MODELS)
def test_a_sample_does_not_know_its_neighbours(name):
    model = quick_model(name)
    batch = random_batch(model.inputs, samples=4)
    together = model.eval().risk(model(batch)).detach()
    halves = [random_batch(model.inputs, samples=4) for _ in range(2)]
    for part, half in zip((slice(0, 1), slice(1, 4)), halves, strict=True):
        for field in fields(Batch):
            value = getattr(batch, field.name)
            if isinstance(value, Tensor):
                setattr(half, field.name, value[part])
    alone = torch.cat([model.risk(model(half)).detach() for half in halves])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_complete_batch_gives_the_same_without_asking_the_device(name):
    model = quick_model(name)
    batch = random_batch(model.inputs)
    asked = outputs(model, batch)
    batch.complete = True
    told = outputs(model, batch)
    for key, value in asked.items():
        torch.testing.assert_close(told[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_autocast_stays_within_two_percent(name):
    model = quick_model(name).eval()
    batch = random_batch(model.inputs)
    exact = outputs(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = outputs(model, batch)
    for head in model.heads:
        assert relative_difference(rounded[head], exact[head]) < 2e-2, head


@pytest.mark.parametrize("name", MODELS)
def test_bfloat16_autocast_trains(name):
    model = quick_model(name).train()
    batch = random_batch(model.inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(batch)
    loss = model.loss(output, batch)
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def compiled_difference(name: str, backend: str) -> float:
    """The largest relative difference of a head's logits after torch.compile, one graph without breaks."""
    model = quick_model(name).eval()
    batch = random_batch(model.inputs)
    batch.complete = True
    plain = outputs(model, batch)
    torch._dynamo.reset()
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True, backend=backend)(batch).logits
    return max(relative_difference(compiled[head], plain[head]) for head in model.heads)


@pytest.mark.parametrize("name", MODELS)
def test_forward_is_one_graph(name):
    assert compiled_difference(name, "aot_eager") < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_compiled_forward_is_the_same(name):
    assert compiled_difference(name, "inductor") < 1e-4
