from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mammorisk.batch import VIEWS, InputSpec
from mammorisk.datasets.attrition import Attrition, Counts
from mammorisk.datasets.samples import SampleTable, build_samples
from mammorisk.errors import UserError

EXAM = InputSpec("exam", 1)
PAIR = InputSpec("exam", 2)
BREAST_PAIR = InputSpec("breast", 2)


def table(*exams: tuple[str, str, float], views: tuple[tuple[str, str], ...] = VIEWS) -> pd.DataFrame:
    """All views of some exams (patient, exam, time); nobody ill, seen for nine years. Rows in a scrambled order."""
    rows = [(*exam, *view) for exam in exams for view in views]
    frame = pd.DataFrame(rows, columns=["patient_id", "exam_id", "exam_time", "laterality", "view"])
    frame = frame.assign(
        split="train",
        years_to_cancer=np.nan,
        exam_years_to_cancer=np.nan,
        years_to_last_followup=9.0,
        exam_years_to_last_followup=9.0,
        density=2,
        cancer_type=-1,
        race="Asian",
        age=50.0,
    )
    return frame.sample(frac=1, random_state=3).reset_index(drop=True)


def build(frame: pd.DataFrame, inputs: InputSpec) -> SampleTable:
    return build_samples(frame, inputs, Attrition())


def shown(frame: pd.DataFrame, rows: np.ndarray) -> list[tuple[str, str, str, str]]:
    """(patient, exam, laterality, view) of each image row."""
    names = ["patient_id", "exam_id", "laterality", "view"]
    return [tuple(frame.loc[row, names]) for row in rows.ravel()]


def test_units_have_their_views_in_the_one_order():
    frame = table(("a", "1", 0))
    exam, breast, image = (build(frame, InputSpec(unit, 1)) for unit in ("exam", "breast", "image"))
    assert [name[2:] for name in shown(frame, exam.images)] == list(VIEWS)
    assert breast.images.shape == (2, 1, 2)
    assert [name[2:] for name in shown(frame, breast.images)] == list(VIEWS)
    assert image.images.shape == (4, 1, 1)
    assert [name[2:] for name in shown(frame, image.images)] == list(VIEWS)
    assert exam.sample_id.tolist() == ["a/1"]
    assert breast.sample_id.tolist() == ["a/1/R", "a/1/L"]
    assert image.sample_id.tolist() == ["a/1/R/CC", "a/1/R/MLO", "a/1/L/CC", "a/1/L/MLO"]


def test_pitfall_14_view_order_does_not_depend_on_the_order_of_files():
    frame = table(("a", "1", 0), ("a", "2", 1), ("b", "1", 0))
    other = frame.sample(frac=1, random_state=8).reset_index(drop=True)
    for inputs in (PAIR, BREAST_PAIR, InputSpec("image", 2)):
        one, two = build(frame, inputs), build(other, inputs)
        assert shown(frame, one.images) == shown(other, two.images)
        assert one.sample_id.tolist() == two.sample_id.tolist()


def test_pairs_are_consecutive_exams_with_the_current_one_last():
    frame = table(("a", "late", 5), ("a", "early", 1), ("a", "mid", 2.5), ("b", "only", 0))
    attrition = Attrition()
    samples = build_samples(frame, PAIR, attrition)
    assert samples.sample_id.tolist() == ["a/mid", "a/late"]
    assert [name[1] for name in shown(frame, samples.images[:, :, 0])] == ["early", "mid", "mid", "late"]
    np.testing.assert_allclose(samples.time_gap, [[1.5, 0], [2.5, 0]])
    assert attrition.steps[0].reason == "fewer than 2 exams"
    assert attrition.steps[0].counts == Counts(patients=1, exams=2, images=8)


def test_the_last_exams_are_taken():
    samples = build(table(*[("a", str(time), time) for time in range(5)]), InputSpec("exam", 3))
    assert samples.sample_id.tolist() == ["a/2", "a/3", "a/4"]
    np.testing.assert_array_equal(samples.time_gap[2], [2, 1, 0])


def test_exams_of_one_day_are_not_each_others_prior():
    frame = table(("a", "1", 0), ("a", "2", 3), ("a", "3", 3), ("a", "4", 4))
    samples = build(frame, PAIR)
    pairs = [(name[0][1], name[1][1]) for name in (shown(frame, row[:, 0]) for row in samples.images)]
    assert pairs == [("1", "2"), ("1", "3"), ("3", "4")]


def test_two_patients_with_one_exam_number_stay_apart():
    samples = build(table(("a", "1", 0), ("b", "1", 0), ("b", "0", -1)), PAIR)
    assert samples.sample_id.tolist() == ["b/1"]


def test_missing_priors_are_dropped_repeated_or_masked():
    frame = table(("a", "1", 0), ("a", "2", 2))
    inputs = {how: InputSpec("exam", 3, missing_priors=how) for how in ("drop", "zero_gap", "mask")}  # type: ignore[arg-type]
    with pytest.raises(UserError, match="fewer than 3 exams"):
        build(frame, inputs["drop"])
    repeated = build(frame, inputs["zero_gap"])
    np.testing.assert_array_equal(repeated.time_gap, [[0, 0, 0], [2, 2, 0]])
    assert [name[1] for name in shown(frame, repeated.images[1, :, 0])] == ["1", "1", "2"]
    np.testing.assert_array_equal(repeated.target_mask.sum(axis=2), [[5, 5, 5], [5, 5, 5]])
    masked = build(frame, inputs["mask"])
    np.testing.assert_array_equal((masked.images >= 0).all(axis=2), [[False, False, True], [False, True, True]])
    np.testing.assert_array_equal(masked.target_mask.sum(axis=2), [[0, 0, 5], [0, 5, 5]])
    np.testing.assert_array_equal(masked.time_gap, [[0, 0, 0], [0, 2, 0]])


def test_assumed_priors_are_counted():
    attrition = Attrition()
    build_samples(table(("a", "1", 0), ("a", "2", 2)), InputSpec("exam", 2, missing_priors="mask"), attrition)
    assert (attrition.steps[0].action, attrition.steps[0].counts) == ("changed", Counts(1, 1, 4))


def test_missing_views_are_dropped_or_masked():
    frame = table(("a", "1", 0), ("a", "2", 2), ("a", "3", 4))
    gone = (frame["exam_id"] == "2") & (frame["laterality"] == "R") & (frame["view"] == "CC")
    frame = frame[~gone].reset_index(drop=True)
    attrition = Attrition()
    dropped = build_samples(frame, PAIR, attrition)
    assert dropped.sample_id.tolist() == ["a/3"]  # exam 2 is neither current nor prior
    np.testing.assert_array_equal(dropped.time_gap, [[4, 0]])
    assert attrition.steps[0].counts == Counts(0, 1, 3)
    breasts = build(frame, BREAST_PAIR)
    assert breasts.sample_id.tolist() == ["a/3/R", "a/2/L", "a/3/L"]
    masked = build(frame, InputSpec("exam", 2, missing_views="mask"))
    assert masked.sample_id.tolist() == ["a/2", "a/3"]
    assert (masked.images[0, 1] >= 0).tolist() == [False, True, True, True]


def test_labels_are_of_the_breast_or_of_either():
    frame = table(("a", "1", 0), ("a", "2", 2))
    right = frame["laterality"] == "R"
    frame.loc[right, "years_to_cancer"] = np.where(frame["exam_id"][right] == "1", 3.0, 1.0)
    frame["exam_years_to_cancer"] = np.where(frame["exam_id"] == "1", 3.0, 1.0)
    exam, breast = build(frame, PAIR), build(frame, BREAST_PAIR)
    assert exam.event.tolist() == [[True, True]]
    assert exam.event_index.tolist() == [[2, 0]]
    assert exam.target[0].tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]
    assert breast.event.tolist() == [[True, True], [False, False]]  # R, L
    assert breast.event_index.tolist() == [[2, 0], [4, 4]]
    assert breast.cases.tolist() == [True, False]


def test_cancer_type_is_that_of_the_affected_breast():
    frame = table(("a", "1", 0), ("b", "1", 0), ("c", "1", 0))
    frame["cancer_type"] = np.where(frame["laterality"] == "R", 5, 0)
    frame.loc[frame["patient_id"] == "c", "cancer_type"] = -1
    frame.loc[(frame["laterality"] == "L") & (frame["patient_id"] == "a"), "years_to_cancer"] = 2.0
    frame.loc[(frame["laterality"] == "R") & (frame["patient_id"] == "b"), "years_to_cancer"] = 2.0
    assert build(frame, EXAM).cancer_type.tolist() == [0, 5, -1]
    assert build(frame, InputSpec("breast", 1)).cancer_type.tolist() == [5, 0, 5, 0, -1, -1]


def test_true_risk_of_the_exam_or_the_breast():
    frame = table(("a", "1", 0))
    for year in range(1, 6):
        frame[f"true_risk_{year}y"] = year / 10
        frame[f"true_risk_breast_{year}y"] = np.where(frame["laterality"] == "R", year / 20, year / 40)
    np.testing.assert_allclose(build(frame, EXAM).true_risk, [[0.1, 0.2, 0.3, 0.4, 0.5]])
    np.testing.assert_allclose(build(frame, InputSpec("breast", 1)).true_risk[:, 4], [0.25, 0.125])
    assert build(table(("a", "1", 0)), EXAM).true_risk is None


def test_cohorts_without_times_serve_models_of_single_exams_only():
    frame = table(("a", "1", np.nan), ("a", "2", np.nan))
    assert build(frame, EXAM).sample_id.tolist() == ["a/1", "a/2"]
    with pytest.raises(UserError, match=r"map dataset\.columns\.exam_date or dataset\.columns\.exam_year"):
        build(frame, PAIR)


def test_pitfall_28_no_sample_in_a_split_says_what_was_dropped():
    frame = table(("a", "1", 0), views=VIEWS[:3])
    with pytest.raises(UserError, match="split 'train' holds no sample") as caught:
        build(frame, EXAM)
    assert "a view of the exam is missing" in str(caught.value)


def test_a_split_of_one_kind_is_noted():
    frame = table(("a", "1", 0), ("b", "1", 0))
    assert "no case among the 2 samples of the split 'val'" in build(frame, EXAM).note("val")
    frame.loc[frame["patient_id"] == "a", "exam_years_to_cancer"] = 2.0
    assert build(frame, EXAM).note("val") == ""
    frame["exam_years_to_cancer"] = 2.0
    assert "no control" in build(frame, EXAM).note("val")


@st.composite
def specs(draw: st.DrawFn) -> InputSpec:
    return InputSpec(
        draw(st.sampled_from(["image", "breast", "exam"])),
        draw(st.integers(1, 4)),
        draw(st.sampled_from(["drop", "mask"])),
        draw(st.sampled_from(["drop", "zero_gap", "mask"])),
    )


@settings(max_examples=120, deadline=None)
@given(
    exams=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4)), min_size=1, max_size=7),
    lost=st.sets(st.integers(0, 27), max_size=12),
    inputs=specs(),
)
def test_samples_never_look_ahead(exams, lost, inputs):
    frame = table(*[(patient, str(number), time / 2) for number, (patient, time) in enumerate(exams)])
    frame = frame[~frame.index.isin(lost)].reset_index(drop=True)
    if frame.empty:
        return
    try:
        samples = build(frame, inputs)
    except UserError:
        assert "drop" in (inputs.missing_views, inputs.missing_priors)
        return
    n, exam, view = len(samples), inputs.exams, inputs.views
    assert samples.images.shape == (n, exam, view)
    assert len(set(samples.sample_id)) == n
    assert (samples.time_gap >= 0).all()
    assert (samples.time_gap[:, -1] == 0).all()
    there = samples.images >= 0
    assert there[:, -1].any(axis=1).all()
    assert there.all() or "mask" in (inputs.missing_views, inputs.missing_priors)
    time = np.where(there, frame["exam_time"].to_numpy()[samples.images], np.nan)
    current = np.nanmax(time[:, -1], axis=1)[:, None, None]
    gap = samples.time_gap[:, :, None]
    np.testing.assert_allclose(np.where(there, current - time, gap), np.broadcast_to(gap, time.shape))
    assert (samples.target_mask[~there.any(axis=2)] == 0).all()
    slots = pd.MultiIndex.from_tuples(VIEWS).get_indexer(pd.MultiIndex.from_frame(frame[["laterality", "view"]]))
    for row in range(n):
        rows = samples.images[row][there[row]]
        assert set(frame.loc[rows, "patient_id"]) == {samples.patient_id[row]}
        assert (np.where(there[row], slots[samples.images[row]] % view, np.arange(view)) == np.arange(view)).all()
        exams_shown = [
            frame.loc[rows_t[rows_t >= 0][0], "exam_id"] for rows_t in samples.images[row] if rows_t.max() >= 0
        ]
        if inputs.missing_priors != "zero_gap":
            assert len(set(exams_shown)) == len(exams_shown)
            gaps = samples.time_gap[row][there[row].any(axis=1)]
            assert (np.diff(gaps) < 0).all()  # priors are strictly earlier


@pytest.mark.parametrize("inputs", [EXAM, PAIR, BREAST_PAIR, InputSpec("image", 1, "mask")])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.iloc[::-1], "rows numbered from 0"),
        (
            lambda frame: frame.assign(split=["train"] * 7 + ["val"]),
            r"rows of one split, found those of \['train', 'val'",
        ),
        (lambda frame: frame.iloc[:0], r"rows of one split, found those of \[\]"),
        (lambda frame: frame.assign(exam_id=[None, *frame["exam_id"][1:]]), "1 rows have no exam_id"),
        (lambda frame: frame.assign(view=["XCCL", *frame["view"][1:]]), "found .* and 'XCCL' in exam a/"),
        (lambda frame: frame.assign(exam_time=np.arange(8.0)), "expected one time of an exam, found more in exam a/1"),
        (
            lambda frame: pd.concat([frame, frame[:1]], ignore_index=True),
            "expected one image of each view of an exam, found more in exam a/",
        ),
    ],
)
def test_a_table_that_is_no_split_of_a_cohort_is_refused(change, message, inputs):
    frame = change(table(("a", "1", 0), ("a", "2", 1)))
    with pytest.raises(ValueError, match=message):
        build(frame, inputs)
