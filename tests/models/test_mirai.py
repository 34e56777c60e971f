from __future__ import annotations

import pytest
import torch
from helpers.model_cases import (
    logits,
    losses_while_fitting,
    random_batch,
    small_encoder,
    without_gradient,
)
from helpers.reference_blocks import assert_parity, outputs, wave, weights

from mammorisk.batch import VIEWS, Batch, InputSpec
from mammorisk.errors import UserError
from mammorisk.models.encoders import ResNetEncoder
from mammorisk.models.mirai import ImageAggregator, Mirai, view_tokens
from mammorisk.risk_factors import SIZES, TOTAL
from mammorisk.weights.loading import load_state
from mammorisk.weights.renaming import MIRAI, MIRAI_TRANSFORMER

RISK_FACTORS = "b_mirai_transformer_riskfactors"


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


def test_mask_embedding_is_constant(model):
    before = model.aggregator.mask_embedding.clone()
    losses_while_fitting(model, random_batch(model.inputs), steps=2)
    assert torch.equal(model.aggregator.mask_embedding, before)
    assert not before.any()
    assert "aggregator.mask_embedding" in model.state_dict()


def test_sizes_are_settings():
    model = Mirai(small_encoder(), hidden_dim=12, num_heads=3, num_layers=2, max_followup=3)
    assert logits(model, random_batch(model.inputs))["risk"].shape == (3, 3)
    with pytest.raises(UserError, match="num_heads must divide the attention width 12, found 5"):
        Mirai(small_encoder(), hidden_dim=12, num_heads=5)


def batch_of_known_women(inputs: InputSpec, samples: int = 3) -> Batch:
    """Every risk factor's first class (of a yes or no: yes), and of the last woman nothing."""
    batch = random_batch(inputs, samples)
    first = torch.cat([torch.eye(size)[0] for size in SIZES])
    batch.risk_factors = first.expand(samples, -1).clone()
    batch.risk_factors[-1] = -1
    return batch


@torch.no_grad()
def test_parity_with_risk_factors():
    # The reference's classifiers at test time; its values given as they are; and each by what is known.
    aggregator = ImageAggregator(512, 512, 8, 1, dropout=0.0, risk_factors=True).eval()
    load_state(aggregator, weights(RISK_FACTORS), MIRAI_TRANSFORMER)
    place, reference = outputs("b_mirai_transformer"), outputs(RISK_FACTORS)
    indices = [place[f"{name}_seq"] for name in ("view", "side", "time")]
    vectors, given = wave((2, 4, 512), 1), reference["risk_factors_concat"].float()
    assert_parity(aggregator(vectors, *indices), reference["logit_pred_rf_at_test"])
    pooled, hidden = aggregator.pooled(vectors, *indices), reference["pool_hidden_if_unknown"].float()
    assert_parity(pooled, hidden[:, :512])
    assert_parity(aggregator.classify(pooled, given), reference["logit_gold_rf"])
    assert_parity(aggregator.classify(pooled, hidden[:, 512:]), reference["logit_pred_rf_if_unknown"])


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory) -> dict[str, str]:
    """Files of the reference's state dicts, as users have them."""
    folder = tmp_path_factory.mktemp("snapshots")
    blocks = {"trunk": "mirai_like_snapshot_expected", "with": RISK_FACTORS, "without": "b_mirai_transformer"}
    for name, block in blocks.items():
        torch.save(weights(block), folder / f"{name}.pth")
    return {name: str(folder / f"{name}.pth") for name in blocks}


@torch.no_grad()
def test_released_mirai_is_its_two_snapshots(snapshots):
    encoder = ResNetEncoder(pretrained=snapshots["trunk"])
    model = Mirai(encoder, risk_factors="predicted", pretrained=snapshots["with"]).eval()
    batch = random_batch(model.inputs, samples=2)
    batch.risk_factors = torch.ones(2, TOTAL)  # not looked at
    images = batch.images[:, 0].flatten(0, 1)  # [B, 1, V, 1, H, W] -> [B*V, 1, H, W]
    vectors = encoder(images).amax((-2, -1)).unflatten(0, (2, 4))  # [B*V, C, h, w] -> [B, V, C]
    aggregator = ImageAggregator(512, 512, 8, 1, dropout=0.0, risk_factors=True).eval()
    load_state(aggregator, weights(RISK_FACTORS), MIRAI_TRANSFORMER)
    place = torch.tensor([[0, 1, 0, 1]] * 2), torch.tensor([[0, 0, 1, 1]] * 2), torch.zeros(2, 4, dtype=torch.long)
    torch.testing.assert_close(model(batch).logits["risk"], aggregator(vectors, *place))


@pytest.mark.parametrize(("file", "setting", "advice"), [("with", "none", "predicted"), ("without", "given", "none")])
def test_a_snapshot_of_the_other_kind_says_what_to_set(snapshots, file, setting, advice):
    with pytest.raises(UserError, match=f"{file}.pth .* set model.risk_factors={advice}"):
        Mirai(small_encoder(width=64), risk_factors=setting, pretrained=snapshots[file])


def test_an_aggregator_in_our_own_names_is_read_too(tmp_path):
    trained = Mirai(small_encoder(), risk_factors="given")
    torch.save(trained.aggregator.state_dict(), tmp_path / "ours.pth")
    filled = Mirai(small_encoder(), risk_factors="predicted", pretrained=str(tmp_path / "ours.pth"))
    assert all(torch.equal(t, filled.aggregator.state_dict()[n]) for n, t in trained.aggregator.state_dict().items())


def test_a_file_of_another_model_lists_what_does_not_fit(snapshots):
    with pytest.raises(UserError, match=r"do not fit ImageAggregator"):
        Mirai(small_encoder(width=64), risk_factors="predicted", pretrained=snapshots["trunk"])
    with pytest.raises(UserError, match=r"projection.weight \[512, 512\], expected \[32, 32\]"):
        Mirai(small_encoder(), pretrained=snapshots["without"])


def test_without_risk_factors_nothing_is_asked_or_told():
    model = Mirai(small_encoder())
    batch = batch_of_known_women(model.inputs)
    before = logits(model, batch)["risk"]
    batch.risk_factors = None
    assert torch.equal(logits(model, batch)["risk"], before)
    assert model(batch).auxiliary == {}
    assert not model.inputs.risk_factors
    assert not [name for name in model.state_dict() if "risk_factors" in name]
    assert Mirai(small_encoder(), risk_factors="predicted").inputs.risk_factors


def test_predicted_looks_at_no_answer_and_given_at_those_there_are():
    for setting, expected in (("predicted", [False] * 3), ("given", [True, True, False])):
        torch.manual_seed(0)
        model = Mirai(small_encoder(), risk_factors=setting)
        batch = batch_of_known_women(model.inputs)
        known = logits(model, batch)["risk"]
        batch.risk_factors = None
        alone = logits(model, batch)["risk"]
        assert (alone != known).any(1).tolist() == expected
        model.risk_factors = "predicted"
        assert torch.equal(logits(model, batch)["risk"], alone)  # the unknown is predicted, not left out


def test_a_known_no_is_used_and_an_unknown_is_predicted():
    torch.manual_seed(0)
    model = Mirai(small_encoder(), risk_factors="given")
    batch = batch_of_known_women(model.inputs)
    batch.risk_factors[:, 4] = torch.tensor([1.0, 0.0, -1.0])  # binary_family_history
    before = logits(model, batch)["risk"]
    batch.risk_factors[1, 4] = -1
    assert (logits(model, batch)["risk"] != before).any(1).tolist() == [False, True, False]


def test_the_classifiers_loss_is_weighted_and_added():
    torch.manual_seed(0)
    model = Mirai(small_encoder(), risk_factors="predicted", dropout=0.0).eval()
    batch = batch_of_known_women(model.inputs)
    output = model(batch)
    whole, own = model.loss(output, batch), output.auxiliary["risk_factors"]
    assert float(own.detach()) > 0
    torch.testing.assert_close(whole - own, model.loss_function(output.logits["risk"], batch.target[:, 0], ones(batch)))
    model.risk_factor_weight = 1.0
    torch.testing.assert_close(model(batch).auxiliary["risk_factors"], 4 * own)
    batch.risk_factors[:] = -1
    assert float(model(batch).auxiliary["risk_factors"].detach()) == 0.0


def ones(batch: Batch) -> torch.Tensor:
    return torch.ones_like(batch.target[:, 0])


@pytest.mark.parametrize("setting", ["predicted", "given"])
@pytest.mark.parametrize("known", [True, False])
def test_every_parameter_of_the_classifiers_gets_a_gradient(setting, known):
    model = Mirai(small_encoder(), risk_factors=setting)
    batch = batch_of_known_women(model.inputs) if known else random_batch(model.inputs)
    assert without_gradient(model, batch) == []
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_classifiers_learn_what_they_are_told():
    torch.manual_seed(1)
    model = Mirai(small_encoder(width=8), risk_factors="predicted", risk_factor_weight=1.0, dropout=0.0)
    batch = batch_of_known_women(model.inputs, samples=4)
    before = float(model(batch).auxiliary["risk_factors"].detach())
    losses_while_fitting(model, batch)
    assert float(model(batch).auxiliary["risk_factors"].detach()) < 0.2 * before


def test_bfloat16_autocast_works_with_risk_factors():
    model = Mirai(small_encoder(), risk_factors="given")
    batch = batch_of_known_women(model.inputs)
    exact = logits(model, batch)["risk"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = model(batch)
    assert rounded.auxiliary["risk_factors"].dtype == torch.float32
    torch.testing.assert_close(rounded.logits["risk"], exact, atol=0.1, rtol=0.1)


def test_an_unknown_setting_is_a_message():
    with pytest.raises(UserError, match="none or predicted or given, found 'true'"):
        Mirai(small_encoder(), risk_factors="true")  # type: ignore[arg-type]
