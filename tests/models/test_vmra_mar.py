from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.model_cases import (
    logits,
    random_batch,
    small_encoder,
    without_gradient,
)
from helpers.reference_blocks import assert_parity, outputs, wave, weights
from torch import Tensor

from mammorisk.batch import Batch
from mammorisk.errors import UserError
from mammorisk.models.asymmetry import Asymmetry
from mammorisk.models.base import parameter_count
from mammorisk.models.encoders import ResNetEncoder
from mammorisk.models.vmra_mar import VMRAMaR, exam_tokens
from mammorisk.weights.loading import load_state
from mammorisk.weights.renaming import VMRA_MAR


def small_model(orientation: str = "left", freeze: bool = False, **settings: object) -> VMRAMaR:
    torch.manual_seed(0)
    scale = {"asymmetry_mean": 5.0, "asymmetry_std": 2.0} | settings  # of a small encoder's features
    return VMRAMaR(small_encoder(freeze=freeze), orientation, **scale)  # type: ignore[arg-type]


def batch_of(exams: int, samples: int = 3, size: tuple[int, int] = (64, 52)) -> Batch:
    return random_batch(small_model(exams=exams).inputs, samples, size)


@pytest.fixture(scope="module")
def published() -> VMRAMaR:
    """The whole reference model, images as taken; BCRBench feeds [0, 1] as it is."""
    model = VMRAMaR(ResNetEncoder(freeze=True, input_mean=0.0, input_std=65535.0), "native").eval()
    # Not filled by the formula: as built.
    built = {"sad.learned_asym_mean": torch.tensor(2000.0), "sad.learned_asym_std": torch.tensor(300.0)}
    load_state(model, weights("i_vmramar_full") | built, VMRA_MAR)
    return model


@pytest.fixture(scope="module")
def reference_features(published) -> Tensor:
    """Features of the reference's two exams, stored L-CC, L-MLO, R-CC, R-MLO, in our order."""
    images = wave((1, 2, 4, 1, 256, 208), 33)[:, :, [2, 3, 0, 1]]
    with torch.no_grad():
        return published.encoder(images.flatten(0, 2)).unflatten(0, (1, 2, 4))


PRESENT = torch.ones(1, 2, 4, dtype=torch.bool)


@torch.no_grad()
def as_the_reference(model: VMRAMaR, features: Tensor) -> tuple[Tensor, Asymmetry, Tensor, Tensor]:
    """Our parts in BCRBench's manner: the exams as one grid of one row, one step of the cell, mean over the grid.

    There the cell's state is never used: exams are neighbours in space, read in both directions. The paper, and our
    model, take one step for each exam in order. The weights are the same, so each of them is checked here, with all
    that is around the recurrence; the recurrence itself is held to the cell, below.
    """
    hidden, _ = model.recurrence.cell(exam_tokens(features, PRESENT)[:, None])  # [B, T, C] -> [B, 1, T, C]
    history = hidden.mean((1, 2))
    asymmetry = model.detector(features, PRESENT)
    tracked = model.tracker(asymmetry.score, asymmetry.position, asymmetry.valid, 7)[:, None]
    return history, asymmetry, tracked, model.risk_layer(torch.cat([history, tracked], dim=-1))


def test_parity_with_whole_vmra_mar(published, reference_features):
    # "pairs_02_13": BCRBench with L and R of a view compared, and not two views of one breast (docs/pitfalls.md#p14).
    reference = outputs("i_vmramar_full")
    history, asymmetry, tracked, logit = as_the_reference(published, reference_features)
    assert_parity(history, reference["temporal_feature"])
    assert torch.equal(asymmetry.position, reference["asymmetry_coords_pairs_02_13"])
    # Far below the mean of 2000, scores hardly differ: closer than other numbers, so that the wrong pairs are seen.
    scores = reference["asymmetry_scores_pairs_02_13"]
    torch.testing.assert_close(asymmetry.score, scores, rtol=5e-6, atol=0)
    assert float((scores / reference["asymmetry_scores"] - 1).abs().max()) > 2e-5
    torch.testing.assert_close(tracked, reference["r_aa_pairs_02_13"], rtol=5e-6, atol=0)
    assert_parity(logit, reference["logit_pairs_02_13"])
    assert_parity(logit.sigmoid(), reference["probs"])


def test_parity_needs_the_order_of_views_and_exams(published, reference_features):
    reference = outputs("i_vmramar_full")
    _, asymmetry, *_ = as_the_reference(published, reference_features[:, :, [2, 3, 0, 1]])
    assert not torch.equal(asymmetry.position, reference["asymmetry_coords_pairs_02_13"])
    _, asymmetry, *_ = as_the_reference(published, reference_features.flip(1))
    assert not torch.equal(asymmetry.position, reference["asymmetry_coords_pairs_02_13"])


@torch.no_grad()
def test_published_model_steps_over_the_exams(published, reference_features):
    batch = random_batch(published.inputs, samples=1)
    batch.images = wave((1, 2, 4, 1, 256, 208), 33)[:, :, [2, 3, 0, 1]]
    cell, tokens = published.recurrence.cell, exam_tokens(reference_features, PRESENT)[:, :, None, None]
    history = cell(tokens[:, 1], cell(tokens[:, 0]))[0].flatten(1)
    tracked = outputs("i_vmramar_full")["r_aa_pairs_02_13"]
    assert_parity(published(batch).logits["risk"], published.risk_layer(torch.cat([history, tracked], dim=-1)))


def test_published_size():
    model = VMRAMaR(ResNetEncoder(freeze=True), "left")
    # Two blocks, with D = 512, E = 1024: projections 2 D E + E D; scans 4 E (64 + 32); states 4 E 16; join 2 D^2.
    block = 3 * 512 * 1024 + 4 * 1024 * 96 + 4 * 1024 * 16
    assert parameter_count(model)["trainable"] == pytest.approx(2 * block + 2 * 512**2, rel=2e-2)


@torch.no_grad()
@pytest.mark.parametrize("exams", [1, 2, 3, 4, 5])
def test_recurrence_is_the_cell_unrolled_over_the_exams(exams):
    recurrence = small_model().recurrence
    tokens = torch.rand(3, exams, 32)
    state = None
    for exam in range(exams):
        state = recurrence.cell(tokens[:, exam, None, None], state)
    found = recurrence(tokens, torch.ones(3, exams, dtype=torch.bool))
    assert torch.equal(found, state[0].flatten(1))


@torch.no_grad()
def test_order_of_exams_matters():
    recurrence, tokens = small_model().recurrence, torch.rand(3, 3, 32)
    seen = torch.ones(3, 3, dtype=torch.bool)
    result = recurrence(tokens, seen)
    for order in ([1, 0, 2], [0, 2, 1], [2, 1, 0]):
        assert (recurrence(tokens[:, order], seen) - result).abs().amax(1).min() > 1e-4
    model, batch = small_model(exams=3), batch_of(3)
    before = logits(model, batch)["risk"]
    batch.images = batch.images[:, [1, 0, 2]]
    assert not torch.allclose(logits(model, batch)["risk"], before, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("hole", [0, 1, 2])
def test_padding_exams_leave_the_state_untouched_bit_for_bit(hole):
    recurrence, tokens = small_model().recurrence, torch.rand(3, 3, 32)
    seen = torch.ones(3, 3, dtype=torch.bool)
    seen[1, hole] = False
    kept = [exam for exam in range(3) if exam != hole]
    shorter = recurrence(tokens[:, kept], seen[:, kept])
    tokens[1, hole] = 1e6
    assert torch.equal(recurrence(tokens, seen)[1], shorter[1])
    assert not torch.equal(recurrence(tokens, seen)[0], shorter[0])


@pytest.mark.parametrize("exams", [1, 2, 3, 5])
def test_one_set_of_weights_for_any_number_of_exams(exams):
    model, batch = small_model(exams=1), batch_of(exams)
    long = logits(model, batch)["risk"]
    assert long.shape == (3, 5)
    padded = replace(
        batch,
        images=torch.cat([torch.full_like(batch.images[:, :1], 7e4), batch.images], 1),
        view_mask=torch.cat([torch.zeros(3, 1, 4, dtype=torch.bool), batch.view_mask], 1),
        time_gap=torch.cat([torch.full((3, 1), 9.0), batch.time_gap], 1),
    )
    torch.testing.assert_close(logits(model, padded)["risk"], long)  # a longer history that is not there


@pytest.mark.parametrize("training", [False, True])
def test_what_is_missing_changes_no_bit(training):
    model, batch = small_model(exams=3), batch_of(3)
    batch.view_mask[0, :2] = False  # no priors
    batch.view_mask[1, 1] = False  # a hole
    batch.view_mask[2, 2, 1] = False  # R-MLO of the current exam
    batch.view_mask[2, 0, :2] = False  # both right views of the first
    before = model.train(training)(batch)
    absent = ~batch.view_mask
    batch.images[absent] = torch.rand_like(batch.images[absent]) * 1e5
    batch.time_gap[0] = torch.tensor([7.0, 3.0, 0.0])
    after = model(batch)
    assert torch.equal(after.logits["risk"], before.logits["risk"])
    assert all(torch.equal(after.maps[name], before.maps[name]) for name in before.maps)
    assert not before.maps["asymmetry_mlo"][2].any()
    assert before.maps["asymmetry_cc"][2].any()
    batch.images[2, 2, 0] = torch.rand(1, 64, 52)  # a view that is there
    assert not torch.equal(model(batch).logits["risk"][2], before.logits["risk"][2])


@torch.no_grad()
def test_token_is_the_mean_over_present_views_of_the_largest_value():
    features, present = torch.rand(1, 2, 4, 3, 8, 7), torch.ones(1, 2, 4, dtype=torch.bool)
    present[0, 1, 1:] = False
    tokens = exam_tokens(features, present)
    torch.testing.assert_close(tokens[0, 0], features[0, 0].amax((-2, -1)).mean(0))
    torch.testing.assert_close(tokens[0, 1], features[0, 1, 0].amax((-2, -1)))
    assert not exam_tokens(features, torch.zeros_like(present)).any()


def mirrored(batch: Batch, native: bool) -> Batch:
    """The batch with right breasts that are the mirror images of the left ones, as taken or already turned."""
    left = batch.images[:, :, 2:]
    images = torch.cat([left.flip(-1) if native else left, left], dim=2)
    return replace(batch, images=images)


def largest_asymmetry(model: VMRAMaR, batch: Batch) -> float:
    with torch.no_grad():
        maps = model.eval()(batch).maps
    return max(float(maps[name].max()) for name in ("asymmetry_cc", "asymmetry_mlo"))


def test_pitfall_14_a_mirror_symmetric_woman_has_no_asymmetry_oriented_left():
    model = small_model("left")
    assert largest_asymmetry(model, mirrored(batch_of(2), native=False)) == 0.0  # equal images: equal features
    assert largest_asymmetry(model, mirrored(batch_of(2), native=True)) > 0.5  # turned twice, or not at all


def test_pitfall_14_right_maps_are_mirrored_for_images_as_taken():
    # A convolution sees a mirrored image otherwise than it sees the image, so with any encoder a symmetric woman keeps
    # some asymmetry: that is what orientation=left is for. It is 0, but for the order of sums, where an encoder cannot
    # tell: kernels that are mirror images of themselves, and widths odd at every stride of 2 (49 -> 25 -> 13 -> 7).
    model, batch = small_model("native"), batch_of(2, size=(65, 49))
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            if parameter.dim() == 4:
                parameter.copy_((parameter + parameter.flip(-1)) / 2)
    assert largest_asymmetry(model, mirrored(batch, native=True)) < 1e-4
    assert largest_asymmetry(model, mirrored(batch, native=False)) > 0.5
    model.detector.mirror_right = False
    assert largest_asymmetry(model, mirrored(batch, native=True)) > 0.5


def test_asymmetry_is_shown_at_its_place_in_the_current_exam():
    model, batch = small_model("left"), mirrored(batch_of(2), native=False)
    batch.images[0, 0, 2] = 0.0  # of the prior exam: not in the pictures
    batch.images[1, 1, 3, 0, :16, :16] = 1.0  # L-MLO, above
    with torch.no_grad():
        maps = model.eval()(batch).maps
    assert not maps["asymmetry_cc"].any()
    assert maps["asymmetry_mlo"].shape == (3, 8, 7)
    assert maps["asymmetry_mlo"].flatten(1).any(1).tolist() == [False, True, False]
    row, column = divmod(int(maps["asymmetry_mlo"][1].argmax()), 7)
    assert row < 4
    assert column < 4


def test_tracked_asymmetry_is_part_of_the_risk():
    model, batch = small_model("left"), batch_of(2)
    before = logits(model, batch)["risk"]
    batch.images = batch.images[:, :, [0, 1, 3, 2]]  # same images in each exam, so the same tokens; other pairs
    after = logits(model, batch)["risk"]
    assert not torch.allclose(after, before, atol=1e-6)
    with torch.no_grad():
        model.risk_layer.base.weight[:, -1] = 0
        model.risk_layer.hazards.weight[:, -1] = 0
    swapped, batch.images = logits(model, batch)["risk"], batch.images[:, :, [0, 1, 3, 2]]
    torch.testing.assert_close(logits(model, batch)["risk"], swapped)


def test_window_of_the_tracker_is_the_shorter_side_of_the_map():
    model, given = small_model(), []
    model.tracker.register_forward_pre_hook(lambda module, inputs: given.append(inputs))
    for size, window in (((64, 52), 7), ((40, 96), 5), ((96, 96), 6)):  # 8 x 7, 5 x 6 and 6 x 6 blocks
        logits(model, batch_of(3, size=size))
        assert given[-1][3] == window
        assert given[-1][0].shape == (3, 3)


@pytest.mark.parametrize("exams", [0, 6])
def test_exams_outside_1_to_5_are_a_user_error(exams):
    with pytest.raises(UserError, match=rf"model\.exams={exams}: expected a whole number from 1 to 5"):
        small_model(exams=exams)


def test_unknown_orientation_is_a_user_error():
    with pytest.raises(UserError, match=r"'native' or 'left', .* found 'right'"):
        small_model(orientation="right")


def test_one_breast_is_refused():
    model, batch = small_model(), batch_of(2)
    batch.images, batch.view_mask = batch.images[:, :, :2], batch.view_mask[:, :, :2]
    with pytest.raises(ValueError, match="expected exams of 4 views"):
        model(batch)


def test_parameters_get_a_gradient_where_no_pair_and_no_prior_is_there():
    batch = batch_of(2)
    batch.view_mask[:, 0], batch.view_mask[:, 1, :2] = False, False
    model = small_model()
    assert without_gradient(model, batch) == []
    assert all(p.grad.isfinite().all() for p in model.parameters())
