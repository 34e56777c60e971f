from __future__ import annotations

import pytest
import torch
from golden import assert_parity, outputs, wave, weights
from model_cases import (
    logits,
    losses_while_fitting,
    random_batch,
    small_encoder,
    snapshot,
    without_gradient,
    yaml_differences,
)

from mammorisk.batch import VIEWS
from mammorisk.errors import UserError
from mammorisk.models.encoders import ResNetEncoder
from mammorisk.models.mirai import ImageAggregator, Mirai, view_tokens
from mammorisk.models.pretrained import load_state
from mammorisk.models.renaming import MIRAI, MIRAI_TRANSFORMER


@pytest.fixture
def model() -> Mirai:
    torch.manual_seed(0)
    return Mirai(small_encoder())


@pytest.fixture(scope="module")
def published() -> Mirai:
    model = Mirai(ResNetEncoder(input_mean=0.0, input_std=65535.0)).eval()  # BCRBench feeds [0, 1] as it is
    load_state(model, weights("b_mirai_full"), MIRAI)
    return model


@torch.no_grad()
@pytest.mark.parametrize("case", ["", "_b2"], ids=["four views", "with padding indices"])
def test_parity_with_all_image_transformer(case):
    # No mask: the reference sees its padding tokens. That ours does not is tested below.
    aggregator, reference = ImageAggregator(512, 512, 8, 1, dropout=0.0).eval(), outputs("b_mirai_transformer")
    load_state(aggregator, weights("b_mirai_transformer"), MIRAI_TRANSFORMER)
    vectors, indices = wave((2, 4, 512), 1), [reference[f"{name}_seq{case}"] for name in ("view", "side", "time")]
    assert_parity(aggregator.contextualise(vectors, *indices), reference[f"transformer_hidden{case}"])
    assert_parity(aggregator(vectors, *indices), reference[f"logit{case}"])


def reference_exam() -> torch.Tensor:
    """The reference's exam, stored L-CC, L-MLO, R-CC, R-MLO, in our order."""
    return wave((1, 4, 1, 256, 208), 38)[:, [2, 3, 0, 1]]


@torch.no_grad()
def test_parity_with_whole_mirai(published):
    batch = random_batch(published.inputs, samples=1)
    batch.images = reference_exam()[:, None]
    output = published(batch)
    assert_parity(output.logits["risk"], outputs("b_mirai_full")["logit"])
    assert_parity(published.risk(output), outputs("b_mirai_full")["primary"])


@torch.no_grad()
@pytest.mark.parametrize("order", [[1, 0, 2, 3], [2, 3, 0, 1], [0, 2, 1, 3]], ids=["views", "sides", "file order"])
def test_pitfall_14_another_order_of_views_is_another_exam(published, order):
    batch = random_batch(published.inputs, samples=1)
    batch.images = reference_exam()[:, None, order]
    with pytest.raises(AssertionError):
        assert_parity(published(batch).logits["risk"], outputs("b_mirai_full")["logit"])


def test_view_tokens_follow_the_one_view_order():
    present = torch.tensor([[True] * 4, [True, False, True, True]])
    view, side, time = view_tokens(present)
    names = [
        ("RL"[s] if s < 2 else "-") + " " + (["CC", "MLO"][v] if v < 2 else "-")
        for s, v in zip(side[0], view[0], strict=True)
    ]
    assert names == [f"{side} {view}" for side, view in VIEWS]
    assert [view[1].tolist(), side[1].tolist(), time[1].tolist()] == [[0, 2, 0, 1], [0, 2, 1, 1], [0, 10, 0, 0]]


def test_yaml_is_the_constructor():
    assert yaml_differences("model/mirai.yaml") == []


@pytest.mark.parametrize("training", [False, True])
def test_missing_view_influences_nothing(training):
    # Training without dropout: the missing image must not reach BatchNorm's batch statistics either.
    model = Mirai(small_encoder(), dropout=0.0).train(training)
    batch = random_batch(model.inputs)
    batch.view_mask[0, 0, 2] = batch.view_mask[1, 0, 0] = False
    before = model(batch).logits["risk"]
    batch.images[0, 0, 2], batch.images[1, 0, 0] = 0.9, torch.rand(1, 64, 52)
    assert torch.equal(model(batch).logits["risk"], before)
    batch.images[0, 0, 1] = torch.rand(1, 64, 52)
    assert not torch.allclose(model(batch).logits["risk"][0], before[0])


@torch.no_grad()
def test_aggregator_sees_only_the_tokens_that_are_there():
    aggregator = ImageAggregator(16, 24, 3, 2, dropout=0.0).eval()
    vectors, present = torch.randn(2, 4, 16), torch.tensor([[True, True, False, True]] * 2)
    kept = [0, 1, 3]
    masked = aggregator(vectors, *view_tokens(present), present)
    alone = aggregator(vectors[:, kept], *(index[:, kept] for index in view_tokens(present)))
    torch.testing.assert_close(masked, alone)


def test_exam_without_any_view_has_a_finite_risk(model):
    batch = random_batch(model.inputs)
    whole = logits(model, batch)["risk"]
    batch.view_mask[1] = False
    result = logits(model, batch)["risk"]
    assert result.isfinite().all()
    torch.testing.assert_close(result[[0, 2]], whole[[0, 2]])


@pytest.mark.parametrize("size", [(64, 52), (96, 33), (128, 104)])
@pytest.mark.parametrize("exams", [1, 3])
def test_takes_any_size_and_looks_at_the_current_exam(model, size, exams):
    batch = random_batch(model.inputs, size=size)
    current = logits(model, batch)["risk"]
    history = torch.rand(3, exams - 1, 4, 1, *size)
    batch.images = torch.cat([history, batch.images], 1)
    batch.view_mask = torch.ones(3, exams, 4, dtype=torch.bool)
    assert current.shape == (3, 5)
    assert torch.equal(logits(model, batch)["risk"], current)


def test_risk_is_a_probability_that_never_falls(model):
    batch = random_batch(model.inputs)
    risk = model.eval().risk(model(batch))
    assert ((risk > 0) & (risk < 1)).all()
    assert (risk.diff(dim=1) >= 0).all()


@pytest.mark.parametrize("missing", [False, True])
def test_every_trainable_parameter_gets_a_gradient(model, missing):
    batch = random_batch(model.inputs)
    batch.view_mask[:, :, 0] = not missing
    assert without_gradient(model, batch) == []


def test_mask_embedding_is_constant(model):
    before = model.aggregator.mask_embedding.clone()
    losses_while_fitting(model, random_batch(model.inputs), steps=2)
    assert torch.equal(model.aggregator.mask_embedding, before)
    assert not before.any()
    assert "aggregator.mask_embedding" in model.state_dict()


def test_pitfall_05_frozen_encoder_stays_as_it_is():
    model = Mirai(small_encoder(freeze=True))
    before = snapshot(model.encoder)
    losses_while_fitting(model, random_batch(model.inputs), steps=3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.encoder.state_dict().items())
    assert not any(module.training for module in model.encoder.modules())


def test_fits_a_small_batch():
    torch.manual_seed(1)
    model = Mirai(small_encoder(width=8), dropout=0.0)
    losses = losses_while_fitting(model, random_batch(model.inputs, samples=4))
    assert losses[-1] < 0.5 * losses[0]


def test_bfloat16_autocast_trains_and_agrees(model):
    batch = random_batch(model.inputs)
    exact = logits(model, batch)["risk"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = logits(model, batch)["risk"]
        model.train()
        loss = model.loss(model(batch), batch)
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in model.parameters())
    torch.testing.assert_close(rounded, exact, atol=0.1, rtol=0.1)


def test_sizes_are_settings():
    model = Mirai(small_encoder(), hidden_dim=12, num_heads=3, num_layers=2, max_followup=3)
    assert logits(model, random_batch(model.inputs))["risk"].shape == (3, 3)
    with pytest.raises(UserError, match="num_heads must divide the attention width 12, found 5"):
        Mirai(small_encoder(), hidden_dim=12, num_heads=5)
