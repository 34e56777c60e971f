"""What holds for every model of ``conf/model``, built from its YAML in the quick start's form. New ones are found."""

from __future__ import annotations

import copy
from dataclasses import fields

import pytest
import torch
from helpers.composed_configs import composed
from helpers.model_cases import (
    losses_while_fitting,
    quick_model,
    random_batch,
    snapshot,
    without_gradient,
    yaml_differences,
)
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from mammorisk.batch import Batch
from mammorisk.config import options
from mammorisk.models.base import RiskModel, is_frozen
from mammorisk.warping import resize_displacement

MODELS = options("model")
LONGITUDINAL = [name for name in MODELS if "missing_priors" in composed(f"model={name}").model]
ALIGNED = [name for name in MODELS if "registration" in composed(f"model={name}").model]
RUBBISH = [0.7, 1e6, float("nan")]
# A model's own settings with which it runs through other code, beside those of its YAML
VARIANTS = [
    ("imgfeatalign", "model.alignment=image"),
    ("imgfeatalign", "model.alignment=none"),
    ("lmv_net", "model.stochastic_depth=0.9"),
    ("lmv_net", "model.num_attn_blocks=2"),
    ("lmv_net", "model.prior_features=raw"),
    ("oa_breacr", "model.embedding=deterministic"),
    ("vmra_mar", "model.exams=1"),
    ("vmra_mar", "model.exams=3"),
]
FORMS = [(name, "") for name in MODELS] + VARIANTS
WITH_PRIORS = [(name, variant) for name, variant in FORMS if name in LONGITUDINAL and variant != "model.exams=1"]
every_form = pytest.mark.parametrize(("name", "variant"), FORMS)
# What the encoder's node of a published model says otherwise than the encoder's constructor
PUBLISHED_START = {
    "imgfeatalign": ["model/imgfeatalign.yaml.encoder.freeze: True, the constructor's default is False"],
    "lmv_net": [],
    "mirai": [],
    "oa_breacr": ["model/oa_breacr.yaml.encoder.pretrained: 'imagenet', the constructor's default is None"],
    "vmra_mar": ["model/vmra_mar.yaml.encoder.freeze: True, the constructor's default is False"],
}


def form(name: str, variant: str, *overrides: str) -> RiskModel:
    return quick_model(name, *filter(None, (variant,)), *overrides)


def outputs(model: RiskModel, batch: Batch, training: bool = False) -> dict[str, Tensor]:
    """Logits of all heads and auxiliary losses; in training with the same random numbers in each call."""
    model.train(training)
    torch.manual_seed(0)
    with torch.no_grad():
        output = model(batch)
    return {**output.logits, **{f"auxiliary {name}": value for name, value in output.auxiliary.items()}}


def relative_difference(found: Tensor, expected: Tensor) -> float:
    return float((found.float() - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", MODELS)
def test_the_yaml_is_the_constructor(name):
    # Which encoder a model starts from is its own choice: the encoder's constructor is everybody's.
    found = yaml_differences(f"model/{name}.yaml")
    start = [line for line in found if ".encoder." in line]
    assert start == PUBLISHED_START.get(name, start)
    assert [line for line in found if line not in start] == []


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


@every_form
@pytest.mark.parametrize("freeze", [False, True])
def test_gradients_reach_every_trainable_parameter_and_no_frozen_one(name, variant, freeze):
    model = form(name, variant, f"model.encoder.freeze={freeze}")
    batch = random_batch(model.inputs, samples=4)
    assert without_gradient(model, batch) == []
    assert [key for key, p in model.named_parameters() if p.grad is not None and not p.requires_grad] == []
    dead = [key for key, p in model.named_parameters() if p.grad is not None and not p.grad.any()]
    # A residual branch that starts at zero passes none on, and a scan of one step has no decay.
    assert len(dead) < 0.6 * len(list(model.parameters()))


@pytest.mark.parametrize("name", [name for name in MODELS if "missing_views" in composed(f"model={name}").model])
def test_gradients_reach_every_parameter_where_a_view_is_absent(name):
    model = quick_model(name, "model.missing_views=mask")
    batch = random_batch(model.inputs)
    batch.view_mask[:, -1, 0] = False
    assert without_gradient(model, batch) == []
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("name", "frozen_by"),
    [*((name, "model.encoder.freeze=true") for name in MODELS), ("lmv_net", "model.finetune_all=false")],
)
def test_pitfall_05_frozen_parts_change_no_buffer_and_no_weight(name, frozen_by):
    model = quick_model(name, frozen_by)
    before = snapshot(model)
    losses_while_fitting(model, random_batch(model.inputs), steps=3)
    frozen = [key for key, module in model.named_modules() if key and is_frozen(module)]
    assert "encoder" in frozen
    assert [key for key in frozen if any(part.training for part in model.get_submodule(key).modules())] == []
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


@pytest.mark.parametrize(("name", "variant"), WITH_PRIORS)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("rubbish", RUBBISH)
def test_what_stands_in_a_masked_prior_exam_changes_no_bit(name, variant, training, rubbish):
    model = form(name, variant, "model.missing_priors=mask")
    batch = random_batch(model.inputs)
    batch.view_mask[1, 0], batch.target_mask[1, 0], batch.target[1, 0] = False, 0, 0
    before = outputs(model, batch, training)
    batch.images[1, 0], batch.time_gap[1, 0] = rubbish, 4.5
    after = outputs(model, batch, training)
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
    assert model.registration_module is model.registration
    assert is_frozen(model.registration_module)
    with torch.no_grad():
        features = model.encoder(random_batch(model.inputs).images[:1, 0, 0])
    assert model.field_size((64, 52)) == features.shape[-2:]


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ALIGNED])
def test_a_model_without_a_registration_asks_none(name):
    assert quick_model(name).registration_module is None


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
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("rubbish", RUBBISH)
def test_what_stands_in_a_masked_view_changes_no_bit(name, training, rubbish):
    model = quick_model(name, "model.missing_views=mask")
    batch = random_batch(model.inputs)
    batch.view_mask[1, -1, 0] = batch.view_mask[2, 0, 1] = False
    before = outputs(model, batch, training)
    batch.images[1, -1, 0] = batch.images[2, 0, 1] = rubbish
    after = outputs(model, batch, training)
    assert all(value.isfinite().all() for value in after.values())
    assert [key for key in before if not torch.equal(after[key], before[key])] == []
    batch.images[1, -1, 1] = torch.rand(1, 64, 52)  # a view that is there
    assert not torch.equal(outputs(model, batch, training)[model.primary][1], before[model.primary][1])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [(64, 52), (96, 33), (128, 104)])
def test_takes_any_size_and_looks_at_no_older_exam_than_it_says(name, size):
    model = quick_model(name, f"dataset.image_size=[{size[0]},{size[1]}]")
    batch = random_batch(model.inputs, size=size)
    expected = outputs(model, batch)
    assert model.risk(model(batch)).shape == (3, 5)
    if name == "vmra_mar":  # it takes as many exams as there are
        return
    older = 3 - model.inputs.exams
    batch.images = torch.cat([torch.rand(3, older, model.inputs.views, 1, *size), batch.images], 1)
    batch.view_mask = torch.ones(3, 3, model.inputs.views, dtype=torch.bool)
    batch.time_gap = torch.cat([torch.full((3, older), 4.0), batch.time_gap], 1)
    found = outputs(model, batch)
    assert [key for key in expected if not torch.equal(found[key], expected[key])] == []


@pytest.mark.parametrize("name", [name for name in LONGITUDINAL if name != "vmra_mar"])  # which looks at no times
def test_the_gap_between_two_exams_matters_and_their_times_do_not(name):
    model = quick_model(name)
    batch = random_batch(model.inputs)
    one_year = outputs(model, batch)
    batch.time_gap[0, 0] = 3.0  # of the first sample only
    other = outputs(model, batch)
    changed = torch.stack([(other[head] != one_year[head]).flatten(1).any(1) for head in model.heads]).any(0)
    assert changed.tolist() == [True, False, False]
    batch.time_gap += 1.0  # both exams a year earlier
    batch.time_gap[:, 0] = 2.0
    later = outputs(model, batch)
    assert [key for key in one_year if not torch.equal(later[key], one_year[key])] == []


@pytest.mark.parametrize("name", MODELS)
def test_a_sample_does_not_know_its_neighbours(name):
    model = quick_model(name)
    batch = random_batch(model.inputs, samples=4)
    torch.manual_seed(1)
    together = model.eval().risk(model(batch)).detach()
    torch.manual_seed(2)
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
def test_a_complete_batch_of_tensors_without_values_is_enough_for_a_step(name):
    """Nothing waits for the device."""
    model = quick_model(name).train()
    batch = random_batch(model.inputs)
    batch.complete = True
    with FakeTensorMode(allow_non_fake_inputs=True):
        loss = model.loss(model(batch), batch)
        with pytest.raises(DataDependentOutputException):
            bool(loss > 0)


@pytest.mark.parametrize(("name", "variant"), [*FORMS[: len(MODELS)], ("oa_breacr", "model.embedding=deterministic")])
def test_fits_a_small_batch(name, variant):
    model = form(name, variant)
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    # With three times the rate the last steps are chaotic, and differ between processors.
    batch = random_batch(model.inputs, samples=4)
    losses = losses_while_fitting(model, batch, steps=40 if name in PUBLISHED_START else 200, rate=1e-3)
    assert losses[-1] < 0.5 * losses[0]


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
    assert {value.dtype for value in output.maps.values()} <= {torch.float32}
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
