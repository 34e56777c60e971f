from __future__ import annotations

import pytest
import torch
from helpers.model_cases import (
    SMALL,
    logits,
    random_batch,
    small_encoder,
    snapshot,
)
from helpers.reference_blocks import assert_parity, outputs, wave, weights
from torch import Tensor, nn

from mammorisk.batch import Batch, RiskOutput
from mammorisk.errors import UserError
from mammorisk.losses.gaussian_distances import DISTANCES
from mammorisk.losses.ordinal import ordinal_embedding_loss, ordinal_labels, ordinal_risk_loss
from mammorisk.models.base import parameter_count
from mammorisk.models.encoders import ResNetEncoder
from mammorisk.models.oa_breacr import AttentionMapPool, OABreaCR
from mammorisk.weights.loading import load_state
from mammorisk.weights.renaming import OA_BREACR

HEADS = {"final": 1.0, "current": 0.2, "prior": 0.2, "difference": 0.2}


def small_model(size: tuple[int, int] = SMALL, **settings: object) -> OABreaCR:
    torch.manual_seed(0)
    return OABreaCR(small_encoder(), size, **settings)  # type: ignore[arg-type]


def repeatable(**settings: object) -> OABreaCR:
    """A small model whose forward is the same in every call, in training too."""
    still = {"embedding": "deterministic", "dropout": 0.0, "embedding_dropout": 0.0, "time_dropout": 0.0}
    return small_model(**{**still, **settings})  # type: ignore[arg-type]


@torch.no_grad()
def test_parity_with_simple_attention_pool():
    model, reference = nn.ModuleDict({"pool": AttentionMapPool(512, (4, 3))}), outputs("h_simple_attention_pool")
    state = {f"pooling.{key}": tensor for key, tensor in weights("h_simple_attention_pool").items()}
    load_state(model, state, OA_BREACR)
    features = wave((2, 512, 4, 3), 23)
    assert_parity(model["pool"].pooled(features), reference["hidden"])
    assert_parity(model["pool"].map(features), reference["attention_map"])


@pytest.fixture(scope="module")
def published() -> OABreaCR:
    """The whole reference model, without draws. BCRBench feeds [0, 1] as it is."""
    encoder = ResNetEncoder(input_mean=0.0, input_std=65535.0)
    model = OABreaCR(encoder, (256, 192), embedding="deterministic").eval()
    load_state(model, weights("h_oabreacr_full"), OA_BREACR)
    return model


def reference_images() -> Batch:
    batch = random_batch(small_model().inputs, samples=2, size=(256, 192))
    batch.images = torch.stack([wave((2, 1, 256, 192), 16.2), wave((2, 1, 256, 192), 15)], 1).unsqueeze(2)
    batch.time_gap = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    return batch


@torch.no_grad()
def test_parity_with_whole_oa_breacr(published):
    embedded: list[tuple[Tensor, ...]] = []
    hook = published.embedding.register_forward_hook(lambda _, __, output: embedded.append(output))
    output, reference = published(reference_images()), outputs("h_oabreacr_full")
    hook.remove()
    for name in HEADS:
        assert_parity(output.logits[name], reference[name])
    assert_parity(embedded[0][1], reference["emb_final"])
    assert_parity(embedded[0][2], reference["log_var_final"])
    assert_parity(output.auxiliary["alignment"], reference["loss"])
    assert_parity(published.risk(output), reference["primary"])
    # The reference's field is (dx, dy); the table turned the weights so that ours is (dy, dx).
    assert_parity(output.maps["displacement"].flip(1), reference["flow_field"])


@torch.no_grad()
def test_pitfall_03_parity_needs_the_right_axes_and_order_of_exams(published):
    reference = outputs("h_oabreacr_full")
    swapped = reference_images()
    swapped.images = swapped.images.flip(1)
    with pytest.raises(AssertionError):
        assert_parity(published(swapped).logits["final"], reference["final"])
    last, before = published.field[1], snapshot(published.field[1])
    try:  # the field as it stands in the file
        last.load_state_dict({k: v.flip(0) if v.dim() else v for k, v in before.items()})
        with pytest.raises(AssertionError):
            assert_parity(published(reference_images()).logits["final"], reference["final"])
    finally:
        last.load_state_dict(before)


def test_parity_of_risk_with_the_reference_scores():
    reference, model = outputs("h_losses"), small_model()
    assert_parity(model.risk(RiskOutput({"final": reference["logits"]})), reference["prob_to_score"])


def test_published_size():
    model = OABreaCR(ResNetEncoder(), (2048, 1664))
    # encoder 11.18 M; fusion 3 C^2 + C^2 and embedding 2 C^2, with C = 512; two weights per position; three heads
    expected = 11.18e6 + 6 * 512**2 + 2 * 64 * 52 + 3 * 6 * 512
    assert parameter_count(model)["trainable"] == pytest.approx(expected, rel=2e-3)
    assert model.heads.keys() == HEADS.keys()
    assert {name: head.weight for name, head in model.heads.items()} == HEADS
    assert [head.exam for head in model.heads.values()] == [-1, -1, -2, -1]


def test_heads_have_the_labels_of_their_exams_and_are_weighted():
    model, batch = repeatable(auxiliary_weight=0.3), random_batch(small_model().inputs)
    batch.target[:, 0], batch.target_mask[:, 0, 3:] = 0.0, 0.0  # the prior exam knows less
    output = model(batch)
    now, before = ((batch.target[:, exam], batch.target_mask[:, exam]) for exam in (-1, -2))
    parts = {name: ordinal_risk_loss(output.logits[name], *(before if name == "prior" else now)) for name in HEADS}
    expected = parts["final"] + 0.3 * (parts["current"] + parts["prior"] + parts["difference"])
    torch.testing.assert_close(model.loss(output, batch), expected + sum(output.auxiliary.values()))
    assert all(float(value.detach()) > 0 for value in output.auxiliary.values())


@pytest.mark.parametrize("distance", DISTANCES)
def test_embedding_loss_is_of_the_current_exams_labels(distance):
    model = repeatable(distance=distance, kl_weight=0.5, triplet_weight=2.0, margin=3.0)
    batch, embedded = random_batch(model.inputs, samples=5), []
    batch.target[:, 0] = 0.0
    batch.target[4, 1] = torch.tensor([0.0, 0, 0, 1, 1])
    model.embedding.register_forward_hook(lambda _, __, output: embedded.append(output))
    found = model(batch).auxiliary["ordinal_embedding"]
    labels = ordinal_labels(batch.target[:, 1], batch.target_mask[:, 1])
    expected = ordinal_embedding_loss(*embedded[0][1:], labels, 0.5, 2.0, DISTANCES[distance], 3.0)
    torch.testing.assert_close(found, expected)
    assert found > ordinal_embedding_loss(*embedded[0][1:], labels, 0.5, 0.0)  # there are triplets


def test_risk_averages_probabilities_over_draws_and_never_falls():
    model = small_model()
    output = model.eval()(random_batch(model.inputs))
    assert output.logits["final"].shape == (3, 50, 6)
    risk = model.risk(output)
    classes = output.logits["final"].softmax(-1).mean(1)
    torch.testing.assert_close(risk, torch.stack([classes[:, : y + 1].sum(1) for y in range(5)], 1))
    assert ((risk > 0) & (risk <= 1)).all()
    assert (risk.diff(dim=1) >= 0).all()
    certain = torch.randn(1000, 6)
    certain[:, 5] = -90.0  # cancer, some year: rounding must not pass 1
    extreme = model.risk(RiskOutput({"final": certain}))
    assert (extreme.diff(dim=1) >= 0).all()
    assert float(extreme.max()) <= 1


def test_exams_are_not_interchangeable_but_share_their_head():
    model, batch = small_model().eval(), random_batch(small_model().inputs)
    there = logits(model, batch)
    batch.images = batch.images.flip(1)
    back = logits(model, batch)
    torch.testing.assert_close(back["current"], there["prior"])
    torch.testing.assert_close(back["prior"], there["current"])
    assert not torch.allclose(back["final"], there["final"])


@torch.no_grad()
def test_pitfall_03_a_known_displacement_aligns_the_difference():
    # What the current exam shows at (r, c), the prior shows 2 positions (16 pixels) below and 1 (8 pixels) right of it.
    model, canvas = repeatable(size=(256, 224)).eval(), torch.rand(1, 1, 256 + 16, 224 + 8)
    batch = random_batch(model.inputs, samples=1, size=(256, 224))
    batch.images = torch.stack([canvas[..., :256, :224], canvas[..., 16:, 8:]], 1).unsqueeze(2)

    def difference(dy: float, dx: float) -> float:
        model.field[1][1].weight.zero_()
        model.field[1][1].bias.copy_(torch.tensor([dy, dx]))
        return float(model(batch).maps["difference"][:, 12:-12, 12:-12].max())  # away from borders

    assert difference(2.0, 1.0) < 1e-3 * min(difference(1.0, 2.0), difference(0.0, 0.0))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("everyone", [False, True])
def test_missing_prior_influences_nothing(training, everyone):
    model = repeatable(missing_priors="mask").train(training)
    batch = random_batch(model.inputs)
    gone = slice(None) if everyone else slice(0, 1)
    batch.view_mask[gone, 0], batch.target_mask[gone, 0] = False, 0.0
    before = model(batch)
    loss = model.loss(before, batch)
    loss.backward()
    batch.images[gone, 0], batch.time_gap[gone, 0], batch.target[gone, 0] = 0.7, 4.0, torch.nan
    after = model(batch)
    assert all(torch.equal(after.logits[name], before.logits[name]) for name in HEADS)
    assert torch.equal(model.loss(after, batch), loss)
    assert torch.equal(after.logits["difference"][0], model.difference_head.bias)
    assert not after.maps["difference"][0].any()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert (float(after.auxiliary["alignment"].detach()) == 0) == everyone


@torch.no_grad()
def test_without_a_prior_the_field_is_given_no_change():
    model, batch = repeatable(missing_priors="mask").eval(), random_batch(small_model().inputs)
    batch.images[0, 0] = batch.images[0, 1]
    unchanged = model(batch).maps["displacement"]
    batch.view_mask[0, 0] = False
    torch.testing.assert_close(model(batch).maps["displacement"], unchanged)


@torch.no_grad()
def test_alignment_loss_is_of_the_samples_with_a_prior():
    model, batch = repeatable(missing_priors="mask").eval(), random_batch(small_model().inputs)
    alone = random_batch(model.inputs, samples=1)
    alone.images = batch.images[2:]
    batch.view_mask[:2, 0] = False
    torch.testing.assert_close(model(batch).auxiliary["alignment"], model(alone).auxiliary["alignment"])


def test_maps_are_of_feature_size_and_outside_the_graph():
    model = small_model()
    maps = model(random_batch(model.inputs)).maps
    shapes = {name: tuple(value.shape) for name, value in maps.items()}
    assert shapes.pop("displacement") == (3, 2, 8, 7)
    assert shapes == dict.fromkeys(("attention_current", "attention_prior", "difference"), (3, 8, 7))
    assert not any(value.requires_grad for value in maps.values())
    assert float(maps["attention_current"][0].mean()) == pytest.approx(0.0, abs=1e-5)  # standardised


def test_another_size_than_it_is_built_for_is_said():
    model = small_model((64, 52))
    with pytest.raises(UserError, match=r"made for images of \(64, 52\) .* found \(96, 52\)"):
        model(random_batch(model.inputs, size=(96, 52)))


def test_one_exam_or_two_views_are_refused():
    model, batch = small_model(), random_batch(small_model().inputs)
    batch.images = batch.images.repeat(1, 1, 2, 1, 1, 1)
    with pytest.raises(ValueError, match="expected two exams of one view"):
        model(batch)
    batch.images = batch.images[:, 1:, :1]
    with pytest.raises(ValueError, match="expected two exams of one view"):
        model(batch)


def test_unknown_distance_is_a_user_error():
    with pytest.raises(UserError, match=r"one of JDistance, .*; found 'Euclid'"):
        small_model(distance="Euclid")
