import math
from decimal import Decimal

import numpy as np
import pytest
from omegaconf import OmegaConf

from mammorisk.bound import Bound, shown

NO_NUMBERS = [True, False, math.nan, math.inf, -math.inf, "1", "", [1], {}, 1j, b"1", Decimal("NaN"), np.True_]


@pytest.mark.parametrize(
    ("bound", "fine", "bad"),
    [
        (Bound(0, 1), [0, 1, 0.5, np.float32(0.5), np.int64(1)], [-1e-9, 1.0001, None, 10**400]),
        (Bound(0, 1, above=True), [1e-9, 1], [0, 0.0, -0.0, 1.1]),
        (Bound(0, 1, below=True), [0, 0.99], [1, 1.0]),
        (Bound(1, 9, whole=True), [1, 9, np.int64(3)], [0, 10, 1.5, 3.0, 10**20]),
        (Bound(1, 9, null=True), [None, 1], [0]),
        (Bound(4, 32, whole=True, among=(4, 8)), [4, 8], [5, 32]),
    ],
)
def test_a_number_is_within_its_bound(bound, fine, bad):
    assert [value for value in fine if value not in bound] == []
    assert [value for value in [*bad, *NO_NUMBERS] if value in bound] == []


def test_each_number_of_a_list_is_within_the_bound():
    bound = Bound(0, 1, count=(2, 3), rising=True)
    fine = [[0, 1], (0.5, 0.5), [0, 0.1, 1], OmegaConf.create([0, 1])]
    assert [value for value in fine if value not in bound] == []
    bad = [[1], [0, 0, 0, 0], [1, 0], [0, 2], [0, math.nan], [0, True], ["a", "b"], "01", 1, None, [[0, 1], [0, 1]], {}]
    assert [value for value in bad if value in bound] == []
    assert [1, 0] in Bound(0, 1, count=(2, 2))


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        (Bound(1, 4096, whole=True), "a whole number from 1 to 4096"),
        (Bound(1, 10_000_000, whole=True, null=True), "a whole number from 1 to 10000000, or null"),
        (Bound(0, 1, above=True, below=True), "a number between 0 and 1, both left out"),
        (Bound(0, 1, above=True), "a number above 0, at most 1"),
        (Bound(0, 1, below=True), "a number from 0 to below 1"),
        (Bound(1e-4, 0.9), "a number from 0.0001 to 0.9"),
        (Bound(4, 8, whole=True, among=(4, 8)), "a whole number that is 4 or 8"),
        (Bound(0, 2, count=(2, 2), rising=True), "a list of 2 numbers, each from 0 to 2, in rising order"),
        (Bound(1, 9, whole=True, count=(1, 7)), "a list of 1 to 7 whole numbers, each from 1 to 9"),
    ],
)
def test_a_bound_in_words(bound, words):
    assert str(bound) == words


def test_a_value_is_shown_short_and_printable():
    assert shown(1.5) == "1.5"
    assert shown("\x1b[2J") == r"\x1b[2J"
    assert shown("x" * 1000) == "x" * 60 + "…"
    assert shown(10**5000) == "a number of 16610 bits"
