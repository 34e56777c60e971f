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
from mammorisk.models.base import parameter_count
from mammorisk.models.encoders import ResNetEncoder
from mammorisk.models.imgfeatalign import ImgFeatAlign, PairHead
from mammorisk.models.time_encoding import TimeEncoding
from mammorisk.registration.identity import IdentityRegistration
from mammorisk.registration.mammoregnet import MammoRegNet
from mammorisk.weights.loading import load_state
from mammorisk.weights.renaming import IMGFEATALIGN, MAMMOREGNET

ALIGNMENTS = ["image_feature", "image", "none"]


class Shift(nn.Module):
    """A registration that knows the answer: everything moved by (dy, dx) pixels."""

    def __init__(self, dy: float, dx: float) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor([float(dy), float(dx)]))
        self.calls = 0

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        self.calls += 1
        return torch.zeros_like(fixed).repeat(1, 2, 1, 1) + self.shift.view(1, 2, 1, 1)


def small_model(registration: nn.Module | None = None, **settings: object) -> ImgFeatAlign:
    torch.manual_seed(0)
    return ImgFeatAlign(small_encoder(), registration or IdentityRegistration(), **settings)  # type: ignore[arg-type]


@torch.no_grad()
def test_parity_with_the_head():
    # In a dict, so that keys go through the very table a user's checkpoint does.
    model = nn.ModuleDict({"head": PairHead(512)}).eval()
    state = {f"risk_model.{key}": tensor for key, tensor in weights("g_risk_model_with_attention").items()}
    load_state(model, state, IMGFEATALIGN)
    current, prior, aligned, difference = (wave((2, 512, 4, 3), seed) for seed in (19, 20.5, 21.1, 22.9))
    timed = TimeEncoding(512).eval()(difference, torch.tensor([1.0, 3.0]))
    result, reference = model["head"](prior, aligned, timed, current), outputs("g_risk_model_with_attention")
    for name in ("fused", "cur", "pri"):
        assert_parity(result[name], reference[f"pred_{name}"])
    # The attention knows no order of its three tokens; the heads of single exams do.
    assert not torch.allclose(model["head"](aligned, prior, timed, current)["pri"], result["pri"], rtol=1e-3)
    assert not torch.allclose(model["head"](prior, aligned, current, timed)["cur"], result["cur"], rtol=1e-3)
    unaligned = model["head"](prior, prior, timed, current)["fused"]
    assert not torch.allclose(unaligned, result["fused"], rtol=1e-3)


@pytest.fixture(scope="module")
def published() -> ImgFeatAlign:
    """The whole reference model; BCRBench feeds [0, 1] as it is."""
    model = ImgFeatAlign(ResNetEncoder(input_mean=0.0, input_std=65535.0), MammoRegNet()).eval()
    load_state(model, weights("g_imgfeatalign_full"), [*IMGFEATALIGN, *MAMMOREGNET])
    return model


def reference_views() -> Batch:
    """The reference's two samples, 1 and 3 years between the exams."""
    batch = random_batch(small_model().inputs, samples=2)
    prior, current = wave((2, 1, 256, 208), 16.2), wave((2, 1, 256, 208), 15)
    batch.images = torch.stack([prior, current], 1).unsqueeze(2)  # 2 x [B, 1, H, W] -> [B, 2, 1, 1, H, W]
    batch.time_gap = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    return batch


@torch.no_grad()
def test_parity_with_whole_imgfeatalign(published):
    # "flow_axes_fixed": BCRBench reads the field as (dx, dy) and rescales both axes by one factor; these values are
    # its model with (dy, dx) and a factor per axis, as the field is made (docs/pitfalls.md#p3).
    output, reference = published(reference_views()), outputs("g_imgfeatalign_full")
    for name in ("fused", "cur", "pri"):
        assert_parity(output.logits[name], reference[f"pred_{name}_flow_axes_fixed"])
    with pytest.raises(AssertionError):
        assert_parity(output.logits["fused"], reference["pred_fused"])


@torch.no_grad()
def test_parity_needs_the_right_order_of_exams(published):
    batch = reference_views()
    batch.images = batch.images.flip(1)
    output, reference = published(batch), outputs("g_imgfeatalign_full")
    for name in ("fused", "cur", "pri"):
        with pytest.raises(AssertionError):
            assert_parity(output.logits[name], reference[f"pred_{name}_flow_axes_fixed"])


def test_published_size():
    model = ImgFeatAlign(ResNetEncoder(freeze=True), IdentityRegistration())
    # attention 4 D^2, network 8 D^2, projection D^2, three hazard layers 6 D each, with D = 512, and biases and norms
    assert parameter_count(model)["trainable"] == pytest.approx(13 * 512**2, rel=1e-2)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_only_the_alignments_that_need_it_ask_the_registration(alignment):
    registration = Shift(3, -2)
    model = small_model(registration, alignment=alignment)
    logits(model, random_batch(model.inputs))
    assert registration.calls == (alignment != "none")


@torch.no_grad()
@pytest.mark.parametrize("alignment", ["image", "image_feature"])
@pytest.mark.parametrize("sign", [1, -1])
def test_pitfall_03_alignment_undoes_a_known_shift(alignment, sign):
    batch = random_batch(small_model().inputs)
    batch.images[:, 0] = batch.images[:, 1].roll((8, -16), (-2, -1))  # the prior lies 8 pixels lower, 16 to the left
    inside = (slice(None), slice(2, -2), slice(3, -3))
    models = [small_model(Shift(sign * 8, sign * -16), alignment=way).eval() for way in (alignment, "none")]
    aligned, unaligned = (model(batch).maps["difference"][inside].mean() for model in models)
    assert (aligned < 0.5 * unaligned) == (sign == 1)


def test_the_prior_head_learns_the_prior_exams_label():
    model = small_model()
    batch = random_batch(model.inputs)
    output = model.eval()(batch)
    before = model.loss(output, batch)
    batch.target_mask[:, 0] = 0  # the prior exam's label is not known
    without = model.loss(output, batch)
    assert not torch.equal(before, without)
    output.logits["pri"] = output.logits["pri"] + 7
    assert torch.equal(model.loss(output, batch), without)


def test_missing_prior_is_a_sample_of_one_exam():
    model = small_model(missing_priors="mask").eval()
    batch = random_batch(model.inputs)
    batch.view_mask[1, 0] = False
    before = logits(model, batch)
    tokens = encoder_token = model.encoder(batch.images[1:2, 1, 0]).mean((-2, -1))  # [1, C]
    tokens = model.head.layer(tokens[:, None]).mean(1)
    alone = model.head.risk["fused"](model.head.projection(tokens))
    torch.testing.assert_close(before["fused"][1:2], alone)
    torch.testing.assert_close(before["cur"][1:2], model.head.risk["cur"](encoder_token))


def test_wrong_inputs_and_settings_are_refused():
    model = small_model()
    batch = random_batch(model.inputs)
    batch.images, batch.view_mask = batch.images[:, 1:], batch.view_mask[:, 1:]
    with pytest.raises(ValueError, match="expected two exams of one view"):
        model(batch)
    with pytest.raises(UserError, match="alignment must be 'image_feature', 'image' or 'none', found 'feature'"):
        small_model(alignment="feature")


def test_image_alignment_warps_the_image_by_a_field_of_any_size():
    model = small_model(registration=Shift(0, 0), alignment="image").eval()
    batch = random_batch(model.inputs)
    batch.displacement = torch.full((3, 1, 2, 16, 13), 1.0)  # of a quarter of the image: 4 pixels of its own
    found = logits(model, batch)
    assert model.registration.calls == 0
    expected = logits(small_model(registration=Shift(4, 4), alignment="image"), random_batch(model.inputs))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    assert model.field_size((64, 52)) == (64, 52)
    assert small_model(alignment="none").registration_module is None
