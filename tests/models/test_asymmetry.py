from __future__ import annotations

import pytest
import torch
from helpers.reference_blocks import assert_parity, outputs, wave, weights
from torch import Tensor

from mammorisk.batch import VIEWS
from mammorisk.errors import UserError
from mammorisk.models.asymmetry import PAIRS, AsymmetryDetector, AsymmetryTracker, block_norms
from mammorisk.weights.loading import load_state
from mammorisk.weights.renaming import VMRA_MAR

FROM_REFERENCE = [2, 3, 0, 1]  # L-CC, L-MLO, R-CC, R-MLO in our order


@pytest.mark.parametrize(("case", "grid"), [("fixed", (5, 5)), ("l3x2", (3, 2))])
def test_parity_with_asymmetry_of_two_maps(case, grid):
    reference = outputs("i_hybrid_asymmetry")
    heat = block_norms((wave((3, 512, 8, 7), 25) - wave((3, 512, 8, 7), 26.4)).abs(), grid)
    largest, place = heat.flatten(1).max(1)
    assert_parity(heat, reference[f"heatmap_{case}"])
    assert_parity(largest, reference[f"score_{case}"])
    assert (place // heat.shape[-1]).tolist() == reference[f"y_{case}"].tolist()
    assert (place % heat.shape[-1]).tolist() == reference[f"x_{case}"].tolist()


def reference_exams() -> tuple[Tensor, Tensor]:
    """The reference's feature maps, each view on a scale of its own, and which are there, in our order of views."""
    shape = (2, 2, 4, 512, 8, 7)
    view = torch.arange(1.0, 5.0).view(1, 1, 4, 1, 1, 1)
    features = wave(shape, 27) * (1 + 0.5 * wave(shape, 1.7) * view)
    return features[:, :, FROM_REFERENCE], outputs("i_sad")["view_mask"][:, :, FROM_REFERENCE]


@torch.no_grad()
def test_parity_with_spatial_asymmetry_detector():
    # BCRBench pairs its views (0, 1) and (2, 3): both of one breast. "pairs_02_13" is its detector with L and R paired.
    detector, reference = AsymmetryDetector(512), outputs("i_sad")
    built = {"learned_asym_mean": torch.tensor(5.0), "learned_asym_std": torch.tensor(4.0)}  # no formula: as built
    load_state(detector, weights("i_sad") | built, VMRA_MAR)
    features, present = reference_exams()
    found = detector(features, present)
    assert_parity(found.score, reference["exam_scores_pairs_02_13"])
    assert torch.equal(found.position, reference["coords_pairs_02_13"])
    assert torch.equal(found.valid, reference["coord_valid_pairs_02_13"])
    with pytest.raises(AssertionError):
        assert_parity(found.score, reference["exam_scores"])
    with pytest.raises(AssertionError):  # CC and MLO have factors of their own
        assert_parity(detector(features[:, :, [1, 0, 3, 2]], present).score, reference["exam_scores_pairs_02_13"])


@pytest.mark.parametrize(("window", "case"), [(8, "out"), (3, "out_ws3")])
def test_parity_with_longitudinal_asymmetry_tracker(window, case):
    reference = outputs("i_lat")
    valid = reference["coord_valid"] & reference["exam_mask"]
    assert_parity(AsymmetryTracker()(reference["scores"], reference["coords"], valid, window), reference[case])


def detector(**settings: object) -> AsymmetryDetector:
    return AsymmetryDetector(3, initial_mean=0.5, initial_std=0.3, **settings)  # type: ignore[arg-type]


def exams(batch: int = 2, exams: int = 2) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.rand(batch, exams, 4, 3, 8, 7, generator=draw), torch.ones(batch, exams, 4, dtype=torch.bool)


def test_pitfall_14_pairs_are_the_two_sides_of_one_view():
    assert list(PAIRS) == ["CC", "MLO"]
    for view, (left, right) in PAIRS.items():
        assert (VIEWS[left], VIEWS[right]) == (("L", view), ("R", view))


@pytest.mark.parametrize("native", [True, False])
def test_pitfall_14_mirror_images_have_no_asymmetry_and_others_have(native):
    features, present = exams()
    left = features[:, :, 2:]
    features[:, :, :2] = left.flip(-1) if native else left  # right breasts, as taken or already turned
    found = detector(mirror_right=native)(features, present)
    assert not found.raw.any()
    assert not found.heat.any()
    assert (detector(mirror_right=not native)(features, present).raw > 0.1).all()
    with torch.no_grad():
        features[0, 1, 0, 1, 5, 2] += 1.0  # R-CC of the first sample's current exam
    assert (detector(mirror_right=native)(features, present).raw > 0).nonzero().tolist() == [[0, 1, 0]]


def test_a_local_difference_is_found_at_its_place_and_as_large_as_it_is():
    features, present = torch.ones(1, 1, 4, 3, 8, 7), exams(1, 1)[1]
    features[0, 0, 2, :, 6, 1] += torch.tensor([3.0, 0.0, 4.0])  # L-CC
    features[0, 0, 1, 0, 2, 0] += 2.0  # R-MLO: mirrored at column 6
    sought = detector(mirror_right=True)
    found = sought(features, present)
    torch.testing.assert_close(found.raw, torch.tensor([[[5.0, 2.0]]]))
    assert found.position.tolist() == [[[6.0, 1.0]]]  # of the stronger view
    expected = torch.sigmoid((torch.tensor([5.0, 2.0]) - 0.5) / 0.3).mean()
    torch.testing.assert_close(found.score, expected.view(1, 1))
    features[0, 0, 2] = 1.0
    assert sought(features, present).position.tolist() == [[[2.0, 6.0]]]


def test_a_large_map_has_the_grid_asked_for_and_a_small_one_a_block_a_position():
    assert block_norms(torch.rand(1, 2, 64, 52), (5, 5)).shape == (1, 5, 5)
    assert block_norms(torch.rand(1, 2, 8, 7), (5, 5)).shape == (1, 8, 7)
    assert block_norms(torch.rand(1, 2, 3, 2), (5, 5)).shape == (1, 3, 2)


def test_a_pair_without_one_side_does_not_count_and_is_not_looked_at():
    features, present = exams()
    present[0, 0, 0] = False  # R-CC
    present[1, 1, 2:] = False  # both left views
    found = detector()(features, present)
    changed = features.clone()
    changed[0, 0, [0, 2]], changed[1, 1] = 1e6, float("nan")
    after = detector()(changed, present)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, after, strict=True))
    mlo_alone = torch.sigmoid((found.raw[0, 0, 1] - 0.5) / 0.3)
    torch.testing.assert_close(found.score[0, 0], mlo_alone)
    assert found.valid.tolist() == [[True, True], [True, False]]
    assert found.score[1, 1] == 0
    assert found.position[1, 1].tolist() == [0, 0]


def test_gradients_are_finite_also_where_nothing_differs():
    features, present = exams()
    features[0, :, :2] = features[0, :, 2:].flip(-1)
    present[1, 0] = False
    features.requires_grad_()
    sought = detector()
    sought(features, present).score.sum().backward()
    assert features.grad.isfinite().all()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in sought.parameters())


def test_scores_in_float32_under_autocast():
    features, present = exams()
    exact = detector()(features, present)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = detector()(features, present)
    assert torch.equal(found.score, exact.score)


@pytest.mark.parametrize(("settings", "words"), [({"grid": (0, 5)}, "grid"), ({"initial_std": 0.0}, "above 0")])
def test_impossible_settings_are_user_errors(settings, words):
    with pytest.raises(UserError, match=words):
        AsymmetryDetector(3, **settings)


def tracked(score: list[float], position: list[tuple[float, float]], valid: list[bool], window: int = 5) -> float:
    given = torch.tensor([score]), torch.tensor([position]), torch.tensor([valid])
    return float(AsymmetryTracker()(*given, window))


def test_asymmetry_that_stays_weighs_more():
    far, near = (4.0, 4.0), (0.0, 0.0)
    # 0.4 of 5 positions: a move of 2 stays, one of more does not. Weights 2, 2, 1 and 1, 1, 1.
    assert tracked([0.9, 0.6, 0.3], [near, (0.0, 2.0), far], [True] * 3) == pytest.approx((1.8 + 1.2 + 0.3) / 5)
    assert tracked([0.9, 0.6, 0.3], [near, (0.0, 2.1), far], [True] * 3) == pytest.approx(0.6)
    assert tracked([0.9, 0.6, 0.3], [near, (1.4, 1.4), far], [True] * 3) == pytest.approx(0.66)  # 1.98 away
    assert tracked([0.9, 0.6, 0.3], [near, (1.5, 1.5), far], [True] * 3) == pytest.approx(0.6)  # 2.12 away
    # In the middle of three: counted with both neighbours. Weights 2, 3, 2.
    assert tracked([0.9, 0.5, 0.3], [near, near, near], [True] * 3) == pytest.approx((1.8 + 1.5 + 0.6) / 7)


def test_only_exams_with_a_score_are_tracked_and_neighbours_only():
    near = (0.0, 0.0)
    assert tracked([0.9, 0.5, 0.3], [near] * 3, [True, False, True]) == pytest.approx(0.6)
    assert tracked([9.0, 0.5, 0.3], [near] * 3, [False, True, True]) == pytest.approx(0.4)
    assert tracked([0.9], [near], [True]) == pytest.approx(0.9)
    assert tracked([0.9, 0.8], [near] * 2, [False, False]) == 0.0
