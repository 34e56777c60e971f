from __future__ import annotations

import pytest
import torch
from helpers.model_cases import (
    logits,
    random_batch,
    small_encoder,
)
from helpers.reference_blocks import assert_parity, outputs, wave, weights
from torch import Tensor, nn

from mammorisk.batch import Batch
from mammorisk.errors import UserError
from mammorisk.models.alignment import displacement_of_last_pair, warp_features
from mammorisk.models.base import parameter_count
from mammorisk.models.dual_stream import DualStreamBlock
from mammorisk.models.encoders import ResNetEncoder
from mammorisk.models.lmv_net import LMVNet, TwoViewHead
from mammorisk.registration.identity import IdentityRegistration
from mammorisk.registration.mammoregnet import MammoRegNet
from mammorisk.weights.loading import load_state
from mammorisk.weights.renaming import LMV_NET, MAMMOREGNET


class Shift(nn.Module):
    """A registration that knows the answer: everything moved by (dy, dx) pixels."""

    def __init__(self, dy: float, dx: float) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor([float(dy), float(dx)]))

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        return torch.zeros_like(fixed).repeat(1, 2, 1, 1) + self.shift.view(1, 2, 1, 1)


def small_model(registration: nn.Module | None = None, **settings: object) -> LMVNet:
    torch.manual_seed(0)
    return LMVNet(small_encoder(), registration or IdentityRegistration(), **settings)  # type: ignore[arg-type]


def deterministic(registration: nn.Module | None = None, **settings: object) -> LMVNet:
    """A small model whose forward is the same in every call, in training too."""
    return small_model(registration, dropout=0.0, stochastic_depth=0.0, time_dropout=0.0, **settings)


@torch.no_grad()
def test_parity_with_lmv_net_head():
    # In a dict, so that keys go through the very table a user's checkpoint does.
    model, reference = (
        nn.ModuleDict({"head": TwoViewHead(1536, [DualStreamBlock(1536, 4)])}).eval(),
        outputs("f_lmvnet_head"),
    )
    load_state(model, weights("f_lmvnet_head"), LMV_NET)
    result = model["head"](torch.stack([wave((2, 1536, 4, 3), 13), wave((2, 1536, 4, 3), 14.7)], 1))
    for name, value in result.items():
        assert_parity(value, reference[f"risk_{name}"])


@pytest.fixture(scope="module")
def published() -> LMVNet:
    """The whole reference model. BCRBench feeds [0, 1] as it is, and concatenates the unaligned prior."""
    encoder = ResNetEncoder(input_mean=0.0, input_std=65535.0)
    model = LMVNet(encoder, MammoRegNet(), prior_features="raw").eval()
    load_state(model, weights("f_lmvnet_full"), [*LMV_NET, *MAMMOREGNET])
    return model


def reference_breasts() -> Batch:
    """The reference's two breasts: images X(seed) of both views, now and at the prior exam, 1 and 3 years apart."""
    current_cc, prior_cc, current_mlo, prior_mlo = (wave((2, 1, 256, 208), seed) for seed in (15, 16.2, 17.1, 18.4))
    batch = random_batch(small_model().inputs, samples=2)
    batch.images = torch.stack([torch.stack([prior_cc, prior_mlo], 1), torch.stack([current_cc, current_mlo], 1)], 1)
    batch.time_gap = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    return batch


@torch.no_grad()
def test_parity_with_whole_lmv_net(published):
    # "flow_axes_fixed": BCRBench reads the field as (dx, dy) and rescales both axes by one factor; these values are
    # its model with (dy, dx) and a factor per axis, as the field is made (docs/pitfalls.md#p3).
    output, reference = published(reference_breasts()), outputs("f_lmvnet_full")
    for name in ("multi", "cc", "mlo"):
        assert_parity(output.logits[name], reference[f"risk_{name}_flow_axes_fixed"])


@torch.no_grad()
def test_parity_needs_the_right_axes_order_of_views_and_exams(published):
    reference = outputs("f_lmvnet_full")
    with pytest.raises(AssertionError):
        assert_parity(published(reference_breasts()).logits["multi"], reference["risk_multi"])
    for dim in (1, 2):  # exams, views
        batch = reference_breasts()
        batch.images = batch.images.flip(dim)
        with pytest.raises(AssertionError):
            assert_parity(published(batch).logits["multi"], reference["risk_multi_flow_axes_fixed"])


def test_published_size():
    model = LMVNet(ResNetEncoder(), IdentityRegistration())
    assert model.head.fusion.in_features == 3072
    # encoder 11.18 M; a block: 8 D^2 attention, 2 x 4 D^2 FFN; fusion 2 D^2, with D = 1536, and biases and norms
    assert parameter_count(model)["trainable"] == pytest.approx(11.18e6 + 18 * 1536**2, rel=2e-3)


class Calls:
    """Keeps what a module was called with, whether its output had a graph, and whether under autocast."""

    def __init__(self, module: nn.Module) -> None:
        self.inputs: list[tuple[Tensor, ...]] = []
        self.graph: list[bool] = []
        self.autocast: list[bool] = []
        module.register_forward_hook(self.record)

    def record(self, module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        self.inputs.append(inputs)
        self.graph.append(isinstance(output, Tensor) and output.grad_fn is not None)
        self.autocast.append(torch.is_autocast_enabled("cpu"))


def test_pitfall_11_registration_is_outside_the_graph_and_stays_in_eval():
    registration = Shift(1.0, 2.0)
    model = small_model(registration).train()
    registration.shift.requires_grad_(True)  # even then
    calls, batch = Calls(registration), random_batch(model.inputs)
    model.loss(model(batch), batch).backward()
    assert calls.graph == [False]
    assert registration.shift.grad is None
    assert not registration.training


def test_registration_is_asked_once_with_the_current_exam_fixed():
    model = small_model()
    calls, batch = Calls(model.registration), random_batch(model.inputs)
    logits(model, batch)
    [(fixed, moving)] = calls.inputs
    assert torch.equal(fixed.view(3, 2, 1, 64, 52), batch.images[:, 1])
    assert torch.equal(moving.view(3, 2, 1, 64, 52), batch.images[:, 0])


def shifted_pair(dy: int, dx: int, size: tuple[int, int] = (64, 52)) -> Batch:
    """A batch whose prior shows, at (y + dy, x + dx), what the current exam shows at (y, x)."""
    (H, W), batch = size, random_batch(small_model().inputs, samples=1, size=size)
    canvas = torch.rand(1, 2, 1, H + 64, W + 64, generator=torch.Generator().manual_seed(0))
    batch.images = torch.stack([canvas[..., 32 - dy :, 32 - dx :][..., :H, :W], canvas[..., 32:, 32:][..., :H, :W]], 1)
    return batch


@pytest.mark.parametrize(("dy", "dx"), [(16, 0), (0, 8), (16, -8), (-8, 24)])
def test_pitfall_03_warp_axes_and_rescaling_of_features(dy, dx):
    # Shifts by whole feature positions (8 pixels): with the true field the features coincide where neither they nor
    # the layers before them see the border (receptive field: 14 positions each way).
    batch = shifted_pair(dy, dx, size=(352, 320))  # 44 x 40 positions

    def difference(given: tuple[int, int]) -> float:
        maps = deterministic(Shift(*given)).eval()(batch).maps
        return max(float(found[:, 18:-18, 18:-18].max()) for found in maps.values())

    wrong = min(difference(given) for given in {(dx, dy), (-dy, -dx), (0, 0)})
    assert difference((dy, dx)) < 1e-3 * wrong


def test_maps_are_the_mean_difference_of_each_view():
    model, batch = deterministic(), random_batch(small_model().inputs)
    batch.images[:, 0, 1] = batch.images[:, 1, 1]  # MLO has not changed
    maps = model.eval()(batch).maps
    assert maps["difference_cc"].shape == (3, 8, 7)
    assert (maps["difference_cc"] > 0.01).all()
    assert float(maps["difference_mlo"].max()) < 1e-4
    assert not maps["difference_cc"].requires_grad


@torch.no_grad()
def test_head_is_given_current_prior_and_timed_difference():
    batch = shifted_pair(8, 8)
    for prior_features in ("aligned", "raw"):
        model = small_model(Shift(8, 8), prior_features=prior_features).eval()
        calls = Calls(model.head)
        model(batch)
        current, beside, timed = calls.inputs[0][0].chunk(3, dim=2)  # [B, V, 3 C, h, w]
        raw = model.encoder(batch.images[:, 0].flatten(0, 1)).view_as(current)
        field = displacement_of_last_pair(batch, model.registration, batch.images)
        aligned = warp_features(raw.flatten(0, 1), field).view_as(raw)
        torch.testing.assert_close(current, model.encoder(batch.images[:, 1].flatten(0, 1)).view_as(current))
        torch.testing.assert_close(beside, aligned if prior_features == "aligned" else raw)
        code = model.time_encoding.encode(batch.time_gap[:, 0])[:, None, :, None, None]
        torch.testing.assert_close(timed, (current - aligned).abs() + code)
        assert not torch.allclose(raw, aligned)


def test_unknown_prior_features_are_a_user_error():
    with pytest.raises(UserError, match="'aligned' or 'raw', found 'both'"):
        small_model(prior_features="both")


@pytest.mark.parametrize("training", [False, True])
def test_missing_prior_influences_nothing(training):
    model = deterministic(missing_priors="mask").train(training)
    batch = random_batch(model.inputs)
    batch.view_mask[0, 0] = False  # a whole prior exam
    batch.view_mask[1, 0, 1] = False  # one of its views
    before = model(batch)
    batch.images[0, 0], batch.images[1, 0, 1], batch.time_gap[0, 0] = 0.7, torch.rand(1, 64, 52), 4.0
    after = model(batch)
    assert all(torch.equal(after.logits[name], before.logits[name]) for name in model.heads)
    assert not after.maps["difference_cc"][0].any()
    assert after.maps["difference_cc"][1].any()
    batch.images[1, 0, 0] = torch.rand(1, 64, 52)  # the view that is there
    assert not torch.allclose(model(batch).logits["multi"][1], before.logits["multi"][1])


@pytest.mark.parametrize("training", [False, True])
def test_missing_view_influences_nothing(training):
    model = deterministic(missing_views="mask").train(training)
    batch = random_batch(model.inputs)
    batch.view_mask[0, :, 1] = False
    batch.view_mask[1, 1, 0] = False  # in the current exam only
    before = model(batch).logits
    batch.images[0, :, 1], batch.images[1, 1, 0] = torch.rand(2, 1, 64, 52), 0.3
    after = model(batch).logits
    assert all(torch.equal(after[name], before[name]) for name in model.heads)
    assert torch.equal(after["mlo"][0], model.head.risk(torch.zeros(model.head.risk.base.in_features)))


@torch.no_grad()
def test_head_does_not_look_at_an_absent_view():
    head, features = small_model().head.eval(), torch.rand(2, 2, 96, 8, 7)
    present = torch.tensor([[True, False], [True, True]])
    before = head(features, present)
    features[0, 1] = 5.0
    after = head(features, present)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_views_and_exams_are_not_interchangeable():
    model, batch = small_model(), random_batch(small_model().inputs)
    result, images = logits(model, batch), batch.images.clone()
    for swapped in (images.flip(1), images.flip(2)):
        batch.images = swapped
        assert not torch.allclose(logits(model, batch)["multi"], result["multi"])


def test_heads_share_one_hazard_layer_and_are_weighted():
    model, batch = deterministic(auxiliary_weight=0.3), random_batch(small_model().inputs)
    output = model(batch)
    parts = {
        name: model.loss_function(output.logits[name], batch.target[:, -1], batch.target_mask[:, -1])
        for name in ("multi", "cc", "mlo")
    }
    torch.testing.assert_close(model.loss(output, batch), parts["multi"] + 0.3 * (parts["cc"] + parts["mlo"]))
    assert not torch.allclose(output.logits["cc"], output.logits["mlo"])


def test_one_exam_or_four_views_are_refused():
    model = small_model()
    batch = random_batch(model.inputs)
    batch.images, batch.view_mask = batch.images[:, 1:], batch.view_mask[:, 1:]
    with pytest.raises(ValueError, match="expected two exams of two views"):
        model(batch)


def test_displacements_are_computed_in_float32_under_autocast():
    model = deterministic()
    calls = Calls(model.registration)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits(model, random_batch(model.inputs))
    assert calls.autocast == [False]
