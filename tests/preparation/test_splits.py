import hashlib

import numpy as np
import pandas as pd
import pytest

from mammorisk.errors import UserError
from mammorisk.preparation.schemas import SplitConfig
from mammorisk.preparation.splits import split_patients


def cohort(women, case_every=5, rows=2):
    patient = pd.Series([f"{number:07d}" for number in range(women)]).repeat(rows).reset_index(drop=True)
    case = pd.Series(np.arange(women) % case_every == 0).repeat(rows).reset_index(drop=True)
    case[1::rows] = False  # one row is enough to be a case
    return patient, case


def of(split, patient):
    table = pd.DataFrame({"patient": patient, "split": split}).drop_duplicates()
    assert table["patient"].is_unique  # one split for all rows of a woman
    return table.set_index("patient")["split"]


def test_threshold_is_the_hash_against_the_shares():
    patient, case = cohort(400)
    found = of(split_patients(patient, case, SplitConfig(seed=3)), patient)
    for name, split in found.items():
        place = int(hashlib.sha256(f"3:{name}".encode()).hexdigest()[:13], 16) / 16**13
        assert split == ("train" if place < 0.5 else "val" if place < 0.7 else "test")


def test_threshold_moves_nobody_whoever_is_added_or_becomes_a_case():
    few, many = cohort(300), cohort(3000, case_every=3)
    config = SplitConfig()
    before = of(split_patients(*few, config), few[0])
    shuffled = many[0].sample(frac=1, random_state=0)
    after = of(split_patients(shuffled, many[1][shuffled.index], config), shuffled)
    assert (after[before.index] == before).all()
    shares = after.value_counts(normalize=True)
    assert [shares[name] for name in ("train", "val", "test")] == pytest.approx([0.5, 0.2, 0.3], abs=0.03)


def test_exact_holds_the_shares_among_cases_and_among_controls():
    patient, case = cohort(103, case_every=4)
    found = of(split_patients(patient, case, SplitConfig(rule="exact")), patient)
    cases = set(patient[case])
    for group in (found[found.index.isin(cases)], found[~found.index.isin(cases)]):
        counts = group.value_counts()
        for name, share in (("train", 0.5), ("val", 0.2), ("test", 0.3)):
            assert abs(counts[name] - share * len(group)) <= 1


def test_exact_moves_nobody_when_rows_of_known_women_are_added():
    config = SplitConfig(rule="exact", seed=5)
    one, two = cohort(80, rows=2), cohort(80, rows=6)
    assert of(split_patients(*one, config), one[0]).equals(of(split_patients(*two, config), two[0]))


def test_another_seed_is_another_division():
    patient, case = cohort(200)
    one, other = (split_patients(patient, case, SplitConfig(seed=seed)) for seed in (0, 1))
    assert 0.2 < (one != other).mean() < 0.9


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"train": 0.6}, "shares that sum to 1"),
        ({"train": 0.8, "val": 0.2, "test": 0.0}, "split.test=0.0: expected a number between 0 and 1"),
        ({"rule": "random"}, "expected threshold or exact"),
    ],
)
def test_bad_settings_are_told(settings, told):
    with pytest.raises(UserError, match=told):
        split_patients(*cohort(20), SplitConfig(**settings))


def test_a_split_without_cases_is_told():
    patient, case = cohort(40, case_every=40)
    with pytest.raises(UserError, match=r"A split has no women with cancer: train .* women, [01] cases"):
        split_patients(patient, case, SplitConfig(rule="exact"))
