from __future__ import annotations

import numpy as np
import pytest

from mammorisk.metrics.rows import in_chunks, ratio, read_rows

RISK = np.linspace(0, 1, 12).reshape(6, 2)
EVENT, YEAR, PATIENT = [1, 0, 0, 1, 0, 0], [0, 1, 0, 1, 1, 0], list("bacbca")


def test_patients_are_numbered_in_the_order_of_their_ids():
    rows = read_rows(RISK, EVENT, YEAR, PATIENT)
    assert rows.patient.tolist() == [1, 0, 2, 1, 2, 0]
    assert rows.case.tolist() == [False, True, False]
    assert (rows.years, rows.patients) == (2, 3)
    assert rows.free(0).tolist() == [False, True, True, True, True, True]
    assert rows.free(1).tolist() == [False, True, False, False, True, False]


def test_sums_are_those_of_each_patients_rows():
    rows = read_rows(RISK, EVENT, YEAR, PATIENT, weight=[1, 2, 3, 4, 5, 6])
    cell = np.array([0, 0, 1, 0, -1, 2])  # the last two are counted nowhere
    np.testing.assert_array_equal(rows.sums(cell, 2).toarray(), [[2, 5, 0], [0, 0, 3]])
    np.testing.assert_array_equal(rows.sums(cell, 2, 10 * np.arange(6)).toarray(), [[20, 120, 0], [0, 0, 60]])
    drawn = np.array([[1.0, 0], [2, 1], [0, 3]])
    np.testing.assert_array_equal(rows.sums(cell, 2) @ drawn, [[12, 5], [0, 9]])


def test_a_part_keeps_the_numbers_of_its_patients():
    rows = read_rows(RISK, EVENT, YEAR, PATIENT)
    part, present = rows.part(np.array([True, False, True, True, False, False]))
    assert present.tolist() == [1, 2]
    assert part.patient.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(part.risk, RISK[[0, 2, 3]])
    nobody, absent = rows.part(np.zeros(6, bool))
    assert (nobody.patients, len(absent), len(nobody.event)) == (0, 0, 0)


def test_other_risks_and_weights_are_held_to_the_same_rules():
    rows = read_rows(RISK, EVENT, YEAR, PATIENT)
    other = rows.with_risk(RISK[::-1]).with_weight([1, 2, 3, 4, 5, 6])
    expected = read_rows(RISK[::-1], EVENT, YEAR, PATIENT, [1, 2, 3, 4, 5, 6])
    for name, values in vars(expected).items():
        np.testing.assert_array_equal(getattr(other, name), values)
    for wrong, message in (
        ({"risk": RISK + 0.1}, "risks in 0"),
        ({"risk": RISK * np.nan}, "risks in 0"),
        ({"risk": RISK[:3]}, "Expected risks"),
        ({"weight": [0, 1, 1, 1, 1, 1]}, "weights that are positive"),
        ({"weight": [1.0]}, "Expected weights"),
    ):
        with pytest.raises(ValueError, match=message):
            rows.with_risk(wrong["risk"]) if "risk" in wrong else rows.with_weight(wrong["weight"])


@pytest.mark.parametrize("draws", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("memory", [1, 2000, 10**9])
def test_chunks_hold_all_draws_in_order_and_never_a_single_one(draws, memory):
    counts = np.arange(3 * draws, dtype=np.uint8).reshape(3, draws)
    chunks = list(in_chunks(counts, 5, memory))
    np.testing.assert_array_equal(np.concatenate(chunks, axis=1), counts)
    assert min(chunk.shape[1] for chunk in chunks) >= min(2, draws)
    assert all(8 * 8 * chunk.shape[1] <= max(memory, 3 * 64) for chunk in chunks)


def test_a_ratio_to_nothing_is_nan():
    np.testing.assert_array_equal(ratio([1, 1, 0], [2, 0, 0]), [0.5, np.nan, np.nan])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"risk": RISK + 0.1}, "risks in 0"),
        ({"patient": [1, 2]}, "as many outcomes"),
        ({"weight": [1, 1, 1, 1, 1, 0]}, "weights that are positive"),
        ({"weight": [1.0]}, "as many outcomes"),
        ({"time": [0, 1, 2, 0, 0, 0]}, "times of 0"),
        ({"risk": np.empty((0, 2)), "event": [], "time": [], "patient": []}, "one or more"),
    ],
)
def test_mistakes_are_messages(changed, message):
    with pytest.raises(ValueError, match=message):
        read_rows(**{"risk": RISK, "event": EVENT, "time": YEAR, "patient": PATIENT} | changed)
